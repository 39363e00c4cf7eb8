package android.graphics

import java.io.InputStream

class Bitmap private constructor() {
    val width: Int get() = TODO()
    val height: Int get() = TODO()

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int): Unit = TODO()
}

object BitmapFactory {
    @JvmStatic fun decodeStream(stream: InputStream?): Bitmap? = TODO()
}

object Color {
    @JvmStatic fun alpha(color: Int): Int = TODO()

    @JvmStatic fun red(color: Int): Int = TODO()

    @JvmStatic fun green(color: Int): Int = TODO()

    @JvmStatic fun blue(color: Int): Int = TODO()
}
