"""What a run ends with: ``summary.json`` and a short table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from snnbreg.training.evaluation import Loader, evaluate
from snnbreg.training.run_folder import load_checkpoint, load_network
from snnbreg.training.trainer import Trainer


def summarise(trainer: Trainer, status: str, test: Loader | None) -> dict[str, Any]:
    """Evaluate the best checkpoint, write ``summary.json`` and tell the loggers.

    The network holds the best checkpoint's state afterwards.

    Args:
        trainer: after its ``fit``.
        status: what :meth:`Trainer.fit` returned.
        test: test batches, or None to leave the test out.

    Returns:
        The summary; figures that were not reached (no epoch finished) are None.
    """
    best = trainer.best or {}
    summary: dict[str, Any] = {
        "status": status,
        "best_epoch": best.get("epoch"),
        "best_val_acc": best.get("val_acc"),
        "best_deployed_val_acc": best.get("deployed_val_acc"),
        "select": trainer.select,
    }
    results: Iterable[tuple[str, str]] = (("", "published"), ("deployed_", "deployed"))
    if best and test is not None:
        load_network(trainer.network, load_checkpoint(trainer.run.best)["network"], "best.pt")
        for prefix, evaluation in results:
            figures = evaluate(trainer.network, test, trainer.objective, evaluation)
            summary[f"{prefix}test_acc"] = figures["acc"]
            summary[f"{prefix}test_loss"] = figures["loss"]
    else:
        summary |= {f"{p}test_{k}": None for p, _ in results for k in ("acc", "loss")}
    summary |= {key: best.get(key) for key in ("nonzero", "density", "synops", "firing_rate")}
    summary["parameters"] = sum(p.numel() for p in trainer._parameters)
    summary["epochs"] = len(trainer.history)
    summary["seconds"] = round(sum(row["seconds"] for row in trainer.history), 3)
    trainer.run.write_summary(summary)
    for logger in trainer.loggers:
        logger.finish(summary)
    return summary


def summary_table(summary: Mapping[str, Any]) -> str:
    """The summary as the short table a run ends with.

    Example:
        >>> print(summary_table({"status": "interrupted"}))
        interrupted before the end of the first epoch
    """
    if summary.get("best_epoch") is None:
        return f"{summary['status']} before the end of the first epoch"
    weights = f"{summary['nonzero']:,} ({summary['density']:.1%} of the weights)"
    rows = [
        ("status", summary["status"]),
        ("best epoch", f"{summary['best_epoch']} of {summary['epochs']}"),
        ("validation accuracy", f"{summary['best_val_acc']:.4f}"),
        ("test accuracy", f"{summary['test_acc']:.4f}"),
        ("test accuracy, deployed", f"{summary['deployed_test_acc']:.4f}"),
        ("test loss", f"{summary['test_loss']:.4f}"),
        ("non-zero weights", weights),
        ("seconds", f"{summary['seconds']:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
