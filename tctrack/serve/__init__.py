"""The page of ``tctrack serve``: a browser shows a source, draws boxes on it, and watches the tracker follow them."""
