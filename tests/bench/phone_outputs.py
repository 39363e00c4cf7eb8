"""What `benchmark_model` prints, written after its source: a new build, an old one, and one that fails."""

NEW = """STARTING!
INFO: Loaded model /data/local/tmp/mcconvert-1/abc.tflite
INFO: Initialized session in 12.345ms.
INFO: count=3 first=45678 curr=41234 min=40987 max=45678 avg=42500.3 std=1200 p5=40987 median=41234 p95=45678

INFO: count=50 first=41234 curr=41111 min=40987 max=43210 avg=41400 std=300 p5=41020 median=41350 p95=42000

INFO: Inference timings in us: Init: 12345, First inference: 45678, Warmup (avg): 42500.3, Inference (avg): 41400
INFO: Memory footprint delta from the start of the tool (MB): init=10.5 overall=25.25
INFO: Overall peak memory footprint (MB) via periodic monitoring: 50.1
"""
OLD = """count=50 first=41234 curr=41111 min=40987 max=43210 avg=4.14e+04 std=300

Inference timings in us: Init: 12345, First inference: 45678, Warmup (avg): 42500.3, Inference (avg): 4.14e+04
"""
FAILS = """ERROR: Didn't find op for builtin opcode 'GELU' version '2'.
ERROR: Registration failed.
ERROR: Failed to initialize the interpreter
Benchmarking failed.
"""
