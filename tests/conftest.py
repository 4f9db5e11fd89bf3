"""How hypothesis behaves where it does not do so by itself: with CI set, it loads a profile that repeats every run."""

from hypothesis import HealthCheck, settings

# A busy machine makes no example wrong, and whoever meets a failure can have it again.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
if settings.get_current_profile_name() == "default":
    settings.load_profile("local")
