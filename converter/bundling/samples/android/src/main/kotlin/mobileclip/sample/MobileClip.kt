package mobileclip.sample

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer
import kotlin.math.sqrt
import org.json.JSONObject

/**
 * The model of this bundle behind two functions; all that it needs to know is in preprocessing.json.
 *
 * Opening takes long and embedding some milliseconds: keep one, and use it away from the main thread.
 */
class MobileClip(private val context: Context, accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    private val facts = JSONObject(read("preprocessing.json"))
    val logitScale: Double = facts.optDouble("logit_scale", 100.0)
    val image: ImageInput? = facts.optJSONObject("image")?.let(::ImageInput)
    val tokenizer: ClipTokenizer? =
        facts.optJSONObject("text")?.let { ClipTokenizer(JSONObject(read(it.getString("tokenizer")))) }
    private val imageModel = image?.let { open(it.file, accelerator) }
    private val textModel = facts.optJSONObject("text")?.let { open(it.getString("file"), accelerator) }

    /** A vector of length 1 for a picture of any size. */
    fun embed(picture: Bitmap): FloatArray = embed(checkNotNull(image).prepare(pixels(picture)))

    /** A vector of length 1 for what `ImageInput.prepare` gave. */
    fun embed(square: Pixels): FloatArray {
        val model = checkNotNull(imageModel) { "this bundle has no image file" }
        val inputs = model.createInputBuffers()
        val facts = checkNotNull(image)
        if (facts.takesBytes) inputs[0].writeInt8(facts.bytes(square)) else inputs[0].writeFloat(facts.floats(square))
        return run(model, inputs)
    }

    /** A vector of length 1; what is longer than the model reads is cut. */
    fun embed(text: String): FloatArray {
        val model = checkNotNull(textModel) { "this bundle has no text file" }
        val inputs = model.createInputBuffers()
        inputs[0].writeInt(checkNotNull(tokenizer).encode(text))
        return run(model, inputs)
    }

    override fun close() {
        imageModel?.close()
        textModel?.close()
    }

    fun read(asset: String): String = context.assets.open(asset).use { it.readBytes().decodeToString() }

    private fun open(file: String, accelerator: Accelerator): CompiledModel =
        CompiledModel.create(context.assets, file, CompiledModel.Options(accelerator))

    private fun run(model: CompiledModel, inputs: List<TensorBuffer>): FloatArray {
        val outputs = model.run(inputs)
        val vector = outputs[0].readFloat()
        (inputs + outputs).forEach { it.close() }
        val length = sqrt(dot(vector, vector))
        return FloatArray(vector.size) { (vector[it] / length).toFloat() }
    }

    companion object {
        /** The cosine of two vectors of length 1. */
        fun dot(one: FloatArray, other: FloatArray): Double =
            one.indices.sumOf { one[it].toDouble() * other[it].toDouble() }

        /** RGB of a picture, on white where it is transparent. Turn it upright before: BitmapFactory ignores EXIF. */
        fun pixels(picture: Bitmap): Pixels {
            val colours = IntArray(picture.width * picture.height)
            picture.getPixels(colours, 0, picture.width, 0, 0, picture.width, picture.height)
            val rgb = IntArray(colours.size * 3)
            for ((index, colour) in colours.withIndex()) {
                val alpha = Color.alpha(colour)
                fun onWhite(value: Int) = (value * alpha + 255 * (255 - alpha) + 127) / 255
                rgb[index * 3] = onWhite(Color.red(colour))
                rgb[index * 3 + 1] = onWhite(Color.green(colour))
                rgb[index * 3 + 2] = onWhite(Color.blue(colour))
            }
            return Pixels(picture.width, picture.height, rgb)
        }
    }
}
