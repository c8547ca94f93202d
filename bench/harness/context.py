"""What every measurement needs: where things are, and which CPUs are whose."""
from dataclasses import dataclass
from pathlib import Path

from .accounting import Accounting


@dataclass
class Context:
    root: Path
    build: Path             # of the tools and of postern
    state_folder: Path      # below which each instance has its folder
    accounting: Accounting
    server_cpus: list[int]
    load_cpus: list[int]
    environment: dict[str, str]
    certificate: Path | None = None
    key: Path | None = None

    def tool(self, name: str) -> Path:
        return self.build / "bench" / name
