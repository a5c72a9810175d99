"""Preparations that a party orders, holds, spends and never uses twice."""
