package mobileclip.sample

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin

/** RGB pixels, row by row, three bytes each as 0 to 255. */
class Pixels(val width: Int, val height: Int, val rgb: IntArray)

/**
 * Pillow's resizing, to the very pixel: Bitmap.createScaledBitmap smooths in another way, and a model notices.
 *
 * Each output pixel is a weighted sum of the input pixels under its filter, which is widened by the scale when a picture
 * shrinks. First rows, then columns; weights have 22 bits, and every pass rounds to 8 bits.
 */
object Resample {
    private const val BITS = 22
    private const val HALF = 1L shl (BITS - 1)

    private class Filter(val support: Double, val weight: (Double) -> Double)

    private class Tap(val first: Int, val weights: LongArray)

    private val filters = mapOf(
        "bilinear" to Filter(1.0) { x -> max(0.0, 1.0 - abs(x)) },
        "bicubic" to Filter(2.0, ::cubic),
        "lanczos" to Filter(3.0) { x -> if (x >= -3.0 && x < 3.0) sinc(x) * sinc(x / 3.0) else 0.0 },
    )

    /** `interpolation` is one that preprocessing.json names. */
    fun resize(picture: Pixels, width: Int, height: Int, interpolation: String): Pixels {
        if (interpolation == "nearest") return nearest(picture, width, height)
        val filter = requireNotNull(filters[interpolation]) {
            "interpolation $interpolation is not one of nearest, ${filters.keys.joinToString()}"
        }
        val wide = if (picture.width == width) picture else across(picture, width, filter)
        return if (wide.height == height) wide else down(wide, height, filter)
    }

    private fun taps(before: Int, after: Int, filter: Filter): List<Tap> {
        val scale = before.toDouble() / after
        val stretch = max(scale, 1.0)
        val reach = filter.support * stretch
        return List(after) { index ->
            val centre = (index + 0.5) * scale
            val first = max(0, (centre - reach + 0.5).toInt())
            val end = min(before, (centre + reach + 0.5).toInt())
            val weights = DoubleArray(end - first) { filter.weight((it + first - centre + 0.5) * (1.0 / stretch)) }
            val sum = weights.sum()
            Tap(first, LongArray(weights.size) { rounded(if (sum == 0.0) weights[it] else weights[it] / sum) })
        }
    }

    private fun rounded(weight: Double): Long = (weight * (1L shl BITS) + if (weight < 0) -0.5 else 0.5).toLong()

    private fun byte(sum: Long): Int = (sum shr BITS).coerceIn(0L, 255L).toInt()

    private fun across(picture: Pixels, width: Int, filter: Filter): Pixels {
        val made = IntArray(width * picture.height * 3)
        val seen = taps(picture.width, width, filter)
        for (y in 0 until picture.height) for (x in 0 until width) for (channel in 0..2) {
            val tap = seen[x]
            var sum = HALF
            for (i in tap.weights.indices) {
                sum += picture.rgb[(y * picture.width + tap.first + i) * 3 + channel] * tap.weights[i]
            }
            made[(y * width + x) * 3 + channel] = byte(sum)
        }
        return Pixels(width, picture.height, made)
    }

    private fun down(picture: Pixels, height: Int, filter: Filter): Pixels {
        val row = picture.width * 3
        val made = IntArray(row * height)
        val seen = taps(picture.height, height, filter)
        for (y in 0 until height) for (x in 0 until row) {
            val tap = seen[y]
            var sum = HALF
            for (i in tap.weights.indices) sum += picture.rgb[(tap.first + i) * row + x] * tap.weights[i]
            made[y * row + x] = byte(sum)
        }
        return Pixels(picture.width, height, made)
    }

    private fun nearest(picture: Pixels, width: Int, height: Int): Pixels {
        val made = IntArray(width * height * 3)
        val down = places(picture.height, height)
        val across = places(picture.width, width)
        for (y in 0 until height) for (x in 0 until width) {
            val from = (down[y] * picture.width + across[x]) * 3
            picture.rgb.copyInto(made, (y * width + x) * 3, from, from + 3)
        }
        return Pixels(width, height, made)
    }

    /** Step by step, as Pillow walks: a multiplication would round otherwise. */
    private fun places(before: Int, after: Int): IntArray {
        val step = before.toDouble() / after
        var at = step * 0.5
        return IntArray(after) { at.toInt().also { at += step } }
    }

    private fun cubic(x: Double): Double {
        val a = -0.5
        val d = abs(x)
        return when {
            d < 1.0 -> ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
            d < 2.0 -> (((d - 5.0) * d + 8.0) * d - 4.0) * a
            else -> 0.0
        }
    }

    private fun sinc(x: Double): Double = if (x == 0.0) 1.0 else sin(x * PI) / (x * PI)
}
