__version__ = "0.1.0"

import sys

from wrapt import when_imported

_MODELING = ("transformers.models.auto.modeling_auto", "transformers.modeling_utils", "transformers.modeling_layers", "transformers.models.mamba.modeling_mamba")


def _register_with_auto_classes(module):
    "Lets `AutoModelForCausalLM` open our checkpoints, without `import codesign` paying for torch and transformers."
    loading = (getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False) for name in _MODELING if name != module.__name__)
    if "transformers.models.auto.modeling_auto" in sys.modules and not any(loading):    # else the last of them to be there calls again
        import codesign.baseline  # noqa: F401  (registers itself)


for _name in _MODELING: when_imported(_name)(_register_with_auto_classes)
