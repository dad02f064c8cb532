# The same commands that .ci/run uses.

# everything: lint, types, import rules, tests
default: lint test

lint:
    uv run ruff check
    uv run ruff format --check
    uv run mypy
    uv run lint-imports

test *args:
    uv run pytest {{args}}

example:
    uv run examples/livekit/conversation.py
