"""XLA's flags with which programs are compiled in a quarter of the time, for tests; imported before JAX is."""

from importlib.metadata import version

# Without LLVM's optimizations, with the older emitters of fused loops where XLA still has them, and as one module each,
# which also takes fewer memory maps. XLA's own optimizations stay on.
OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""
QUICK_FLAGS = (
    f"--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 {OLDER_EMITTERS}".rstrip()
)
