# /// script
# requires-python = ">=3.11"
# dependencies = ["gguf==0.19.0", "xllamacpp==2026.10.11549"]
# ///
"""llama.cpp's own server with a tiny random model: `uv run outside/llama_cpp_server.py PORT`.

The wheel of xllamacpp contains that server; it runs until standard input ends. The model generates
lowercase letters and spaces, and ends after about thirty of them.
"""

import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

WIDTH, INNER, HEADS = 64, 128, 4
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SIGNS = ["\u2581", *map(chr, range(33, 127))]
TOKENS = [*SPECIAL, *BYTES, *SIGNS]
TYPES = [
    gguf.TokenType.UNKNOWN,
    *[gguf.TokenType.CONTROL] * 2,
    *[gguf.TokenType.BYTE] * len(BYTES),
    *[gguf.TokenType.NORMAL] * len(SIGNS),
]


def write_model(path: Path) -> None:
    """Write a Llama of one layer with random weights."""
    random = np.random.default_rng(7)

    def weights(*shape: int, scale: float = 0.05) -> np.ndarray:
        return random.normal(0, scale, shape).astype(np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types(TYPES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    embedding, output = (weights(len(TOKENS), WIDTH, scale=0.3) for _ in range(2))
    embedding[:, 0] = 3  # the same for each token, so the output's first column is a bias
    said = ["</s>", "\u2581", *map(chr, range(ord("a"), ord("z") + 1))]
    output[:, 0] = [0 if token in said else -8 for token in TOKENS]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", weights(WIDTH, WIDTH))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", weights(INNER, WIDTH))
    writer.add_tensor("blk.0.ffn_down.weight", weights(WIDTH, INNER))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(port: int) -> None:
    """Serve until standard input ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.gguf")
        write_model(path)
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx = 8192
        settings.n_parallel = 2
        settings.port = port
        server = xllamacpp.Server(settings)
        print("listening at", server.listening_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
