package mobileclip.sample

import java.text.Normalizer
import java.util.Locale
import org.json.JSONArray
import org.json.JSONObject

/** CLIP's tokenizer, as tokenizer.json describes it: replacements, words, byte pairs. */
class ClipTokenizer(file: JSONObject) {
    private val vocabulary = HashMap<String, Int>()
    private val ranks = HashMap<String, Int>()
    private val special = LinkedHashMap<String, Int>()
    private val suffix: String
    private val normalize: (String) -> String
    private val words: Regex
    private val length: Int
    private val padding: Int
    private val start: Int
    private val end: Int
    private val signs = byteSigns()
    private val known = HashMap<String, List<Int>>()

    init {
        val model = file.getJSONObject("model")
        val vocab = model.getJSONObject("vocab")
        for (key in vocab.keys()) vocabulary[key.toString()] = vocab.getInt(key.toString())
        val merges = model.getJSONArray("merges")
        for (rank in 0 until merges.length()) ranks[pair(merges.get(rank))] = rank
        suffix = model.optString("end_of_word_suffix", "")
        objects(file.getJSONArray("added_tokens")).forEach { special[it.getString("content")] = it.getInt("id") }
        normalize = normalizer(file.getJSONObject("normalizer"))
        val split = objects(file.getJSONObject("pre_tokenizer").getJSONArray("pretokenizers"))
            .first { it.getString("type") == "Split" }
        words = expression(split.getJSONObject("pattern").getString("Regex"))
        val pad = file.getJSONObject("padding")
        length = pad.getJSONObject("strategy").getInt("Fixed")
        padding = pad.getInt("pad_id")
        val frame = frame(file.getJSONObject("post_processor"))
        start = frame.first()
        end = frame.last()
    }

    /** Token ids of the model's context length: start, words, end, padding. What is too long is cut, the end token stays. */
    fun encode(text: String): IntArray {
        val ids = pieces(normalize(text)).take(length - 2)
        return IntArray(length) { index ->
            when {
                index == 0 -> start
                index <= ids.size -> ids[index - 1]
                index == ids.size + 1 -> end
                else -> padding
            }
        }
    }

    /** Special tokens in the text count as such; what is between them is cut into words. */
    private fun pieces(text: String): List<Int> {
        val names = Regex(special.keys.joinToString("|") { Regex.escape(it) })
        val found = ArrayList<Int>()
        var at = 0
        for (match in names.findAll(text)) {
            found += wordIds(text.substring(at, match.range.first))
            found += special.getValue(match.value)
            at = match.range.last + 1
        }
        return found + wordIds(text.substring(at))
    }

    private fun wordIds(text: String): List<Int> =
        words.findAll(text).flatMap { match -> known.getOrPut(match.value) { merged(match.value) } }.toList()

    private fun merged(word: String): List<Int> {
        val symbols = word.toByteArray(Charsets.UTF_8).map { signs[it.toInt() and 0xff] }.toMutableList()
        symbols[symbols.lastIndex] = symbols.last() + suffix
        while (true) {
            val best = (0 until symbols.lastIndex).minByOrNull { rank(symbols, it) } ?: break
            if (rank(symbols, best) == Int.MAX_VALUE) break
            symbols[best] = symbols[best] + symbols.removeAt(best + 1)
        }
        return symbols.map { vocabulary.getValue(it) }
    }

    private fun rank(symbols: List<String>, at: Int): Int = ranks["${symbols[at]} ${symbols[at + 1]}"] ?: Int.MAX_VALUE

    private fun normalizer(step: JSONObject): (String) -> String = when (val type = step.getString("type")) {
        "Sequence" -> {
            val steps = objects(step.getJSONArray("normalizers")).map(::normalizer)
            val all: (String) -> String = { text -> steps.fold(text) { before, one -> one(before) } }
            all
        }
        "Replace" -> {
            val given = step.getJSONObject("pattern")
            val pattern = if (given.has("Regex")) expression(given.getString("Regex"))
            else Regex(Regex.escape(given.getString("String")))
            val content = Regex.escapeReplacement(step.getString("content"))
            val replace: (String) -> String = { text -> pattern.replace(text, content) }
            replace
        }
        "NFC" -> { text -> Normalizer.normalize(text, Normalizer.Form.NFC) }
        "Lowercase" -> ::lower
        else -> error("tokenizer.json normalises by $type, which this reader does not know")
    }

    /** Sign by sign: what stands around a sign does not matter. */
    private fun lower(text: String): String = buildString {
        var at = 0
        while (at < text.length) {
            val code = text.codePointAt(at)
            append(String(Character.toChars(code)).lowercase(Locale.ROOT))
            at += Character.charCount(code)
        }
    }

    private fun frame(step: JSONObject): List<Int> {
        val tokens = step.getJSONObject("special_tokens")
        return objects(step.getJSONArray("single")).filter { it.has("SpecialToken") }.map {
            tokens.getJSONObject(it.getJSONObject("SpecialToken").getString("id")).getJSONArray("ids").getInt(0)
        }
    }

    private companion object {
        /** White space as tokenizer.json means it; Java's \s is another set, and so is that of older Androids. */
        const val WHITE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"

        /** A regular expression of tokenizer.json; its \s are only ever inside of [...]. */
        fun expression(pattern: String) = Regex(pattern.replace("\\s", WHITE))

        fun objects(values: JSONArray): List<JSONObject> = List(values.length()) { values.getJSONObject(it) }

        fun pair(merge: Any): String = if (merge is JSONArray) "${merge.getString(0)} ${merge.getString(1)}" else merge.toString()

        /** The printable sign that stands for each byte. */
        fun byteSigns(): List<String> {
            var next = 256
            return List(256) { byte ->
                val printable = byte in 33..126 || (byte > 160 && byte != 173)
                String(Character.toChars(if (printable) byte else next++))
            }
        }
    }
}
