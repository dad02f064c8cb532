"""Settings of the property tests.

To look much longer: ``pytest tests/core --hypothesis-profile=thorough --timeout=0``.
"""

from hypothesis import HealthCheck, settings

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "usual",
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "thorough",
    max_examples=2000,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=_SLOW_IS_FINE,
)
if settings.get_current_profile_name() in ("default", "ci"):
    settings.load_profile("usual")
