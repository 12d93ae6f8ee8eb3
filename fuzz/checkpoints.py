"""config.json of saved models, damaged, to `load_model`.

Two folders: a plain Mamba, and a model whose layers differ. What comes out are the logits of eight tokens. A field
that has another valid value means another model only if it is in `FREE`; any other difference has to be noticed.
"""

import json
import shutil

import damage
import outcomes

FREE = ("layer_norm_epsilon", "norm_epsilon", "residual_in_fp32")
WORTH_ADDING = (
    "d_model",
    "n_layer",
    "d_inner",
    "d_state",
    "ssm_cfg",
    "rms_norm",
    "quantization_config",
    "layer_types",
    "mixer_rms_eps",
    "attn_cfg",
    "dtype",
    "torch_dtype",
    "auto_map",
    "use_bias",
    "num_heads",
    "expand",
    "transformers_weights",
    "norm_epsilon",
    "bias",
    "tie_embeddings",
    "model_type",
    "chunk_size",
)


def small_models(folder):
    "A model whose layers differ and a plain one, saved below `folder`; their folders by name."
    import torch

    from codesign.pillars.modelling import LayerwiseMambaConfig, LayerwiseMambaForCausalLM
    from codesign.pillars.saved_models import save_as_mamba, save_model

    shape = dict(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        state_size=4,
        layer_norm_epsilon=1e-3,
        pad_token_id=0,
        eos_token_id=0,
        bos_token_id=0,
    )
    found = {"layerwise": folder / "layerwise", "mamba": folder / "mamba"}
    torch.manual_seed(0)
    save_model(
        LayerwiseMambaForCausalLM(LayerwiseMambaConfig(**shape, d_inner=[32, 24], d_state=[4, 3])), found["layerwise"]
    )
    save_as_mamba(LayerwiseMambaForCausalLM(LayerwiseMambaConfig(**shape)), found["mamba"])
    return found


def logits_of(folder):
    "What the model of a folder computes from eight tokens, as text that shows every bit."
    import torch

    from codesign.engine.scan_backends import scan_backend
    from codesign.pillars.saved_models import load_model

    with torch.no_grad(), scan_backend("reference"):
        return load_model(folder)(input_ids=torch.arange(8)[None]).logits.float().numpy().tobytes().hex()


class Kind:
    def __init__(self, folder):
        self.folders = small_models(folder)
        with outcomes.listening() as heard:
            self.sound = {name: logits_of(path) for name, path in self.folders.items()}
        self.heard = frozenset(heard)

    def trial(self, rng, place):
        name = rng.choice(list(self.folders))
        folder = place / "model"
        shutil.copytree(self.folders[name], folder)
        file = folder / ("config.json" if rng.random() < 0.9 else "generation_config.json")
        text = file.read_text()
        content, said = damage.of_json_text(text, rng, WORTH_ADDING)
        damage.write(file, content)
        guarded = not any(_field(content, free) != _field(text, free) for free in FREE)
        return outcomes.Trial(
            f"{name}, {file.name}: {said}", lambda: (logits_of(folder), ""), self.sound[name], guarded, self.heard
        )


def _field(content, name):
    "A field of a JSON text; None where there is none, or the text is none."
    try:
        return json.loads(content).get(name)
    except (ValueError, RecursionError, AttributeError):
        return None
