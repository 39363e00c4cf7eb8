package android.content

import android.content.res.AssetManager

abstract class Context {
    open val assets: AssetManager get() = TODO()
}
