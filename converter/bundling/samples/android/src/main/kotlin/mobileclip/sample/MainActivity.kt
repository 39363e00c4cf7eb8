package mobileclip.sample

import android.app.Activity
import android.os.Bundle
import android.util.Log
import android.widget.TextView
import kotlin.concurrent.thread

/** Runs the bundle's own test, and shows what came out; the log has it too, under MobileCLIP. */
class MainActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val page = TextView(this).apply { text = "running ..." }
        setContentView(page)
        thread {
            val said = try {
                MobileClip(this).use { model -> SelfTest(this, model).run() }
            } catch (error: Exception) {
                "FAILED: $error"
            }
            Log.i("MobileCLIP", said)
            runOnUiThread { page.text = said }
        }
    }
}
