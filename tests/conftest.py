import os


# Before NumPy is loaded: workers share the cores, and the threads of a BLAS would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings


settings.register_profile("tests", max_examples=300, derandomize=True, database=None,
                          suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", settings.get_profile("tests"), max_examples=10_000, derandomize=False)
settings.load_profile("tests")
