"""Coverage-guided fuzzing, outside the default test run. Targets are plain functions; `engine` alone needs atheris."""
