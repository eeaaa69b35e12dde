"""stub"""
class Repricing: pass
