"""Regions under autocast, set_grad_enabled and vmap as plain operators.

torch.export puts what the first two cover into a submodule of its own. Gradients mean nothing to a
graph, and autocast that is off, or of another device, changes nothing on the CPU. Of vmap it keeps
the calls that begin and end it; the operators between them see a row as the user's function does.
"""

from __future__ import annotations

import operator

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from rnn_edge.errors import ExportError

_GRADIENTS = torch.ops.higher_order.wrap_with_set_grad_enabled
_AUTOCAST = torch.ops.higher_order.wrap_with_autocast
# Where the submodule stands among the arguments; what it takes comes after it.
_BODIES = {_GRADIENTS: 1, _AUTOCAST: 4}


def inline_regions(exported: ExportedProgram) -> ExportedProgram:
    """``exported`` with the operators of its regions in their places; it may be changed itself.

    Raises ExportError where autocast is on for the CPU: it computes in another dtype.
    """
    if any(_is_of_vmap(node) for node in exported.graph.nodes):
        exported = exported.run_decompositions({})
    module = exported.graph_module
    while regions := [node for node in module.graph.nodes if node.target in _BODIES]:
        for region in regions:
            _refuse_casts(region)
            _inline(region, exported)
        module.recompile()
    return exported


def _is_of_vmap(node: Node) -> bool:
    return getattr(node.target, "__module__", "") == "torch._functorch.predispatch"


def _refuse_casts(region: Node) -> None:
    if region.target is _AUTOCAST and region.args[0] == "cpu" and region.args[2]:
        raise ExportError(
            "forward() must compute in the dtype of its weights to be exported, it turns on "
            f"torch.autocast('cpu', {region.args[1]}). Give it enabled=False, or leave it out."
        )


def _inline(region: Node, exported: ExportedProgram) -> None:
    module, place = exported.graph_module, _BODIES[region.target]  # type: ignore[index]
    reference, *given = region.args[place:]
    assert isinstance(reference, Node)
    body = module.get_submodule(str(reference.target))
    assert isinstance(body, GraphModule)
    copies = dict(zip(body.graph.find_nodes(op="placeholder"), given, strict=True))
    with module.graph.inserting_before(region):
        for node in body.graph.nodes:
            if node.op == "get_attr":
                _adopt(body, node, module)
            if node.op not in ("placeholder", "output"):
                copies[node] = module.graph.node_copy(node, copies.__getitem__)
    (results,) = body.graph.output_node().args
    for item in list(region.users):
        assert item.target is operator.getitem
        found = copies[results[item.args[1]]]  # type: ignore[index]
        item.replace_all_uses_with(found)
        module.graph.erase_node(item)
        for spec in exported.graph_signature.output_specs:
            if spec.arg.name == item.name:
                spec.arg.name = found.name
    module.graph.erase_node(region)
    if not reference.users:
        module.graph.erase_node(reference)


def _adopt(body: GraphModule, node: Node, module: GraphModule) -> None:
    """Let ``module`` have what ``node`` reads from ``body``, under a name of its own."""
    value = getattr(body, str(node.target))
    name = str(node.target)
    while hasattr(module, name):
        name += "_"
    setattr(module, name, value)
    node.target = name
