# The same commands that .ci/run uses.

# everything: lint, types, import rules, tests
default: lint test-all

lint:
    uv run ruff check
    uv run ruff format --check
    uv run mypy
    uv run lint-imports
    uv run codespell

# the pure parts: under a minute
test *args:
    uv run pytest --deselect tests/core/test_laws.py --deselect tests/core/test_laws_bite.py tests/core tests/support {{args}}

# everything, as the README says
test-all *args:
    uv run pytest {{args}}

# what the gate has no time for: every Python, the oldest versions, other event loops, servers
matrix:
    .ci/matrix all all
    for script in $(ls outside/*.py | grep -v _server.py); do uv run --quiet $script || exit 1; done

# random conversations through the frameworks' own sessions
chaos turns="20000" *args:
    uv run pytest tests/chaos --chaos-turns {{turns}} {{args}}

# many callers on the engine, in virtual time
simulate turns="100000" *args:
    uv run pytest tests/simulation/test_simulation.py --simulation-turns {{turns}} {{args}}

# mangled and random frames on the engine
fuzz seconds="60" *args:
    uv run pytest tests/fuzz --fuzz-seconds {{seconds}} {{args}}

example:
    uv run examples/livekit/conversation.py
