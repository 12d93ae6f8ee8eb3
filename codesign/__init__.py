__version__ = "0.1.0"

from wrapt import when_imported


@when_imported("transformers.models.auto.modeling_auto")
def _register_with_auto_classes(module):
    "Lets `AutoModelForCausalLM` open our checkpoints, without `import codesign` paying for torch and transformers."
    import codesign.baseline  # noqa: F401  (registers itself)
