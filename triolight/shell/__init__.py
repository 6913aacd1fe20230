"""The parts of the Trio shell: each owns the state that one rule needs, and none starts a task.

`turns`, `watch` and `admission` know no Trio. ``triolight.nursery`` puts the parts together; users never import from
here.
"""
