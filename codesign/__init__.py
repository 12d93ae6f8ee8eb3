__version__ = "0.1.0"

import sys

from wrapt import when_imported

_MODELING = (
    "transformers.models.auto.modeling_auto",
    "transformers.modeling_utils",
    "transformers.modeling_layers",
    "transformers.models.mamba.modeling_mamba",
)


def _register_with_auto_classes(module):
    "Lets `AutoModelForCausalLM` open our checkpoints, without `import codesign` loading torch and transformers."
    others = (sys.modules.get(name) for name in _MODELING if name != module.__name__)
    if any(getattr(getattr(other, "__spec__", None), "_initializing", False) for other in others):
        return  # the last of them to be imported calls again
    if "transformers.models.auto.modeling_auto" in sys.modules:
        import codesign.pillars.modelling  # noqa: F401  (registers its classes)


for _name in _MODELING:
    when_imported(_name)(_register_with_auto_classes)


@when_imported("codesign.pillars.modelling")
def _register_classifier(module):
    "Enters the classifier too; only after `modelling` is whole, since it is built on it."
    import codesign.pillars.classifying  # noqa: F401  (registers its class)
