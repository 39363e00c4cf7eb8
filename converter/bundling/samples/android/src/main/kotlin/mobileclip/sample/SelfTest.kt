package mobileclip.sample

import android.content.Context
import android.graphics.BitmapFactory
import java.util.Locale
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject

/** The bundle's own test: what each tower gives beside what PyTorch gave. */
class SelfTest(private val context: Context, private val model: MobileClip) {
    private val lines = ArrayList<String>()
    private var passed = true

    /** A line a tower, then PASSED or FAILED. */
    fun run(): String {
        val expected = JSONObject(model.read("expected.json"))
        val tolerance = expected.getDouble("tolerance")
        expected.optJSONObject("image")?.let { image(it, tolerance) }
        expected.optJSONObject("text")?.let { text(it, tolerance) }
        return (lines + if (passed) "PASSED" else "FAILED").joinToString("\n")
    }

    private fun image(wanted: JSONObject, tolerance: Double) {
        val picture = context.assets.open(wanted.getString("picture")).use { stream ->
            checkNotNull(BitmapFactory.decodeStream(stream)) { "the test picture cannot be decoded" }
        }
        val square = checkNotNull(model.image).prepare(MobileClip.pixels(picture))
        same("pixel sum", square.rgb.sumOf { it.toLong() }, wanted.getLong("pixel_sum"))
        compare("image", model.embed(square), wanted, tolerance)
    }

    private fun text(wanted: JSONObject, tolerance: Double) {
        val text = wanted.getString("text")
        val tokens = wanted.getJSONArray("tokens").let { row -> List(row.length()) { row.getInt(it) } }
        same("tokens", checkNotNull(model.tokenizer).encode(text).take(tokens.size), tokens)
        compare("text", model.embed(text), wanted, tolerance)
    }

    private fun compare(tower: String, found: FloatArray, wanted: JSONObject, tolerance: Double) {
        val reference = vector(wanted.getJSONArray("embedding"))
        val cosine = MobileClip.dot(found, reference)
        val bundled = wanted.getDouble("cosine")
        val apart = found.indices.maxOf { abs(found[it] - reference[it]) }
        lines += String.format(
            Locale.ROOT, "%s: cosine %.6f, when it was bundled %.6f; largest difference %.2e", tower, cosine, bundled, apart,
        )
        passed = passed && cosine >= bundled - tolerance
    }

    private fun same(what: String, found: Any, wanted: Any) {
        if (found == wanted) return
        lines += "$what: $found, expected $wanted"
        passed = false
    }

    private fun vector(values: JSONArray) = FloatArray(values.length()) { values.getDouble(it).toFloat() }
}
