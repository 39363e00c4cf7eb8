plugins {
    id("com.android.application") version "8.13.0"
    id("org.jetbrains.kotlin.android") version "2.2.20"
}

android {
    namespace = "mobileclip.sample"
    compileSdk = 36
    defaultConfig {
        applicationId = "mobileclip.sample"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
    androidResources { noCompress += "tflite" } // mapped into memory as they are
    sourceSets["main"].assets.srcDir(layout.buildDirectory.dir("bundle"))
}

kotlin { jvmToolchain(17) }

dependencies { implementation("com.google.ai.edge.litert:litert:2.3.0") }

/** The files of the bundle, as assets under the paths that preprocessing.json gives them. */
val copyBundle by tasks.registering(Sync::class) {
    from("../tflite") { into("tflite") }
    from("../tokenizer.json", "../preprocessing.json", "../expected.json", "../test.png")
    into(layout.buildDirectory.dir("bundle"))
}

tasks.matching { it.name == "preBuild" }.configureEach { dependsOn(copyBundle) }
