// Runs the parts of the sample that need no Android, on lines of JSON from a file; a line of JSON each on standard output.

import java.io.File
import java.util.Base64
import mobileclip.sample.ClipTokenizer
import mobileclip.sample.ImageInput
import mobileclip.sample.Pixels
import org.json.JSONArray
import org.json.JSONObject

fun main(arguments: Array<String>) {
    val (tokenizer, cases) = arguments
    val clip = ClipTokenizer(JSONObject(File(tokenizer).readText()))
    for (line in File(cases).readLines()) {
        val given = JSONObject(line)
        println(if (given.has("text")) JSONArray(clip.encode(given.getString("text")).toList()) else prepared(given))
    }
}

private fun prepared(given: JSONObject): JSONObject {
    val bytes = Base64.getDecoder().decode(given.getString("data"))
    val rgb = IntArray(bytes.size) { bytes[it].toInt() and 0xff }
    val input = ImageInput(given.getJSONObject("facts"))
    val square = input.prepare(Pixels(given.getInt("width"), given.getInt("height"), rgb))
    val values = input.floats(square).map { it.toDouble() }
    return JSONObject().put("pixels", JSONArray(square.rgb.toList())).put("values", JSONArray(values))
}
