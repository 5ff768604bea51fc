#!/usr/bin/env python3
"""Loads an exported folder in transformers and writes the logits it computes.

    python3 check_export.py --folder DIR [--folder DIR ...] --out DIR

For each folder: every tensor must be used and none may be missing; transformers must save the model again under the same
names, shapes and values; the logits of a fixed token sequence go to OUT/<folder name>.json together with the SHA-256 of the
weights. ExportedModelLogitsTest compares Fourfold's own logits with them.
"""

import argparse
import hashlib
import json
import pathlib
import tempfile

import torch
import transformers
from safetensors import safe_open

TOKENS = 24


def tokens(vocab_size):
    return [(7 * i * i + 3 * i + 1) % vocab_size for i in range(TOKENS)]


def logits(model, ids):
    """Logits [T, V] in the model's precision, and the smallest gap between a chosen and a rejected expert."""
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_router_logits=True, use_cache=False)
    k = model.config.num_experts_per_tok
    gap = float("inf")
    for scores in out.router_logits:
        top = scores.float().topk(k + 1, dim=-1).values
        gap = min(gap, (top[:, k - 1] - top[:, k]).min().item())
    return out.logits[0], gap


def double_error(model, ids, reference):
    """How far float32 arithmetic is from float64 for this model; None where float64 cannot run."""
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the grouped product has no float64 form
    try:
        exact, _ = logits(model.double(), ids)
        return (exact - reference.double()).abs().max().item()
    except RuntimeError as error:
        print("float64 did not run:", error)
        return None


def tensors(folder):
    found = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(file, framework="pt") as f:
            for name in f.keys():
                found[name] = f.get_tensor(name)
    return found


def sha256(folder):
    digest = hashlib.sha256()
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def expected(model, folder):
    ids = tokens(model.config.vocab_size)
    values, gap = logits(model, ids)
    return {
        "made_with": {"transformers": transformers.__version__, "torch": torch.__version__},
        "weights_sha256": sha256(folder),
        "tokens": ids,
        "smallest_router_gap": gap,
        "logits": [[float(v) for v in row] for row in values.float()],
        "float32_error": double_error(model, ids, values),
    }


def write(path, record):
    rows = ",\n".join("  " + json.dumps([float(f"{v:.9g}") for v in row]) for row in record.pop("logits"))
    head = json.dumps(record, indent=1)
    path.write_text(head[:-2] + ',\n "logits": [\n' + rows + "\n ]\n}\n")


def load(folder):
    """In float32. (A model cast to BF16 and back would not do: the cast also rounds the rotary frequencies.)"""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    return model.eval(), info


def check_tokenizer(folder):
    """A text through the exported tokenizer and back; Fourfold's byte tokenizer gives one id a byte."""
    if not (folder / "tokenizer.json").exists():
        return
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "Hello,  world!\n\t caf\u00e9 \u4e16\U0001f600"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text, tokenizer.decode(ids)
    if len(tokenizer) == 257:
        assert ids == list(text.encode()), ids
    print(folder, type(tokenizer).__name__, "end of text:", tokenizer.eos_token, tokenizer.eos_token_id)


def check(folder):
    model, info = load(folder)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info.get(kind), f"{folder}: {kind}: {info[kind]}"
    print(folder, type(model).__name__, info)
    ours = tensors(folder)
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        theirs = tensors(again)
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    for name, value in ours.items():
        assert torch.equal(value.float(), theirs[name]), name
    check_tokenizer(folder)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", action="append", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for folder in arguments.folder:
        record = expected(check(folder), folder)
        write(arguments.out / (folder.name + ".json"), record)
        print(folder.name, "gap", record["smallest_router_gap"], "float32 error", record["float32_error"])


if __name__ == "__main__":
    main()
