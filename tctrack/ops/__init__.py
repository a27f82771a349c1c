"""Operators: TAdaConv, Online-TAdaConv, correlation."""
