package android.content.res

import java.io.InputStream

class AssetManager private constructor() : AutoCloseable {
    fun open(fileName: String): InputStream = TODO()

    override fun close(): Unit = TODO()
}
