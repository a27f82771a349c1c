"""Video classifiers with TAdaConv, and the plug-in that makes any network temporally adaptive."""

from tctrack.action.build import BACKBONES, ActionModel, build_action_model

__all__ = ["BACKBONES", "ActionModel", "build_action_model"]
