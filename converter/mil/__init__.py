"""Core ML's ML programs without Core ML: read from a package, decoded, and executed operation by operation.

`program` reads the file, `interpreter` executes it, `ops` holds a kernel for each operation of Apple's MIL
specification, `values` honours the element types that the file declares. Comparing what comes out is left to others.
"""
