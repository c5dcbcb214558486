"""The engines that come with the package; :mod:`backends.registry` names them."""
