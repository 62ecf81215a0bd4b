"""Giving out: exports, model cards, repositories of the Hub, other tools' folders."""
