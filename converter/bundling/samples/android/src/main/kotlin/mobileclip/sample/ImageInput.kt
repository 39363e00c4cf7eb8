package mobileclip.sample

import kotlin.math.max
import kotlin.math.min
import org.json.JSONArray
import org.json.JSONObject

/** The "image" part of preprocessing.json, and what it makes of a picture. */
class ImageInput(facts: JSONObject) {
    val file: String = facts.getString("file")
    val size: Int = facts.getInt("size")
    private val side = facts.getInt("resize_to")
    private val way = facts.getString("resize")
    private val interpolation = facts.getString("interpolation")
    private val layout = facts.getString("layout")
    private val mean = vector(facts.getJSONArray("mean"))
    private val std = vector(facts.getJSONArray("std"))

    /** Whether the file takes pixels as they are, and normalises them by itself. */
    val takesBytes: Boolean = facts.getString("dtype") == "uint8"

    /** The square that the model looks at. */
    fun prepare(picture: Pixels): Pixels {
        val (width, height) = shape(picture)
        return crop(Resample.resize(picture, width, height, interpolation))
    }

    /** The values of the input tensor, as the file lays them out. */
    fun floats(square: Pixels): FloatArray = FloatArray(size * size * 3) {
        val channel = channel(it)
        (square.rgb[place(it)] / 255f - mean[channel]) / std[channel]
    }

    /** The same for a file that takes pixels as they are. */
    fun bytes(square: Pixels): ByteArray = ByteArray(size * size * 3) { square.rgb[place(it)].toByte() }

    private fun channel(at: Int): Int = if (layout == "NHWC") at % 3 else at / (size * size)

    private fun place(at: Int): Int = if (layout == "NHWC") at else at % (size * size) * 3 + channel(at)

    private fun shape(picture: Pixels): Pair<Int, Int> {
        val long = max(picture.width, picture.height)
        val short = min(picture.width, picture.height)
        fun scaled(length: Int): Int = when (way) {
            "shortest" -> (side.toLong() * length / short).toInt()
            "longest" -> max(1, Math.rint(length / (long.toDouble() / side)).toInt()) // half to even
            else -> side
        }
        return scaled(picture.width) to scaled(picture.height)
    }

    private fun crop(picture: Pixels): Pixels {
        val made = IntArray(size * size * 3) // black beyond the picture
        val left = margin(picture.width)
        val top = margin(picture.height)
        for (y in max(0, -top) until min(size, picture.height - top)) {
            for (x in max(0, -left) until min(size, picture.width - left)) {
                val from = ((y + top) * picture.width + x + left) * 3
                picture.rgb.copyInto(made, (y * size + x) * 3, from, from + 3)
            }
        }
        return Pixels(size, size, made)
    }

    private fun margin(length: Int): Int =
        if (length >= size) Math.rint((length - size) / 2.0).toInt() else -((size - length) / 2)

    private fun vector(values: JSONArray) = FloatArray(values.length()) { values.getDouble(it).toFloat() }
}
