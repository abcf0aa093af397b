"""Akiosd's side of gateways: forked, told what they may, believed within bounds, ended."""
