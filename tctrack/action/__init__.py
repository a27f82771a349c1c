"""Video classifiers with TAdaConv, and the plug-in that makes any network temporally adaptive."""

from tctrack.action.build import BACKBONES, ActionModel, build_action_model
from tctrack.action.tadaptify import TemporallyAdaptive, tadaptify

__all__ = ["BACKBONES", "ActionModel", "TemporallyAdaptive", "build_action_model", "tadaptify"]
