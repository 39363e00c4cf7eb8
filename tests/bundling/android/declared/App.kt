package android.app

import android.content.Context
import android.os.Bundle
import android.view.View

open class Activity : Context() {
    protected open fun onCreate(savedInstanceState: Bundle?): Unit = TODO()

    open fun setContentView(view: View?): Unit = TODO()

    fun runOnUiThread(action: Runnable): Unit = TODO()
}
