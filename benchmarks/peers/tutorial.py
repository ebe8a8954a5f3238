"""The server that tutorials teach: FastAPI, transformers in torch, a key, a limit and a usage row in SQLite.

`python -m benchmarks.peers.tutorial PORT`, with `BENCH_CHECKPOINT` and `BENCH_DATABASE` in the environment. Everything
happens in the request, as in tutorials: the model runs in float32, one image at a time.
"""

import base64
import io
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from PIL import Image
from pydantic import BaseModel
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from transformers import AutoImageProcessor, AutoModelForImageClassification

KEY, LIMIT = "tutorial-key", 100_000_000


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    api_key: Mapped[str] = mapped_column(unique=True, index=True)
    requests_per_minute: Mapped[int]


class Usage(Base):
    __tablename__ = "usage"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(index=True)
    endpoint: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)
    response_time_ms: Mapped[float]
    status_code: Mapped[int]


class ImageRequest(BaseModel):
    image: str
    filename: str | None = None


engine = create_engine(f"sqlite:///{os.environ['BENCH_DATABASE']}", connect_args={"check_same_thread": False})
Base.metadata.create_all(engine)
sessions = sessionmaker(bind=engine)
with sessions() as opened:
    if opened.scalar(select(User)) is None:
        opened.add(User(api_key=KEY, requests_per_minute=LIMIT))
        opened.commit()
processor = AutoImageProcessor.from_pretrained(os.environ["BENCH_CHECKPOINT"])
model = AutoModelForImageClassification.from_pretrained(os.environ["BENCH_CHECKPOINT"]).eval()
app = FastAPI()


def session() -> Iterator[Session]:
    with sessions() as made:
        yield made


def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
    database: Annotated[Session, Depends(session)],
) -> User:
    user = database.scalar(select(User).where(User.api_key == credentials.credentials))
    if user is None:
        raise HTTPException(401, "Invalid API key")
    since = datetime.now(UTC) - timedelta(minutes=1)
    recent = select(func.count()).select_from(Usage).where(Usage.user_id == user.id, Usage.at >= since)
    if (database.scalar(recent) or 0) >= user.requests_per_minute:
        raise HTTPException(429, "Rate limit exceeded")
    return user


@app.post("/v1/classify")
async def classify(
    request: ImageRequest, user: Annotated[User, Depends(current_user)], database: Annotated[Session, Depends(session)]
) -> dict[str, Any]:
    started = time.time()
    image = Image.open(io.BytesIO(base64.b64decode(request.image))).convert("RGB")
    with torch.no_grad():
        logits = model(**processor(image, return_tensors="pt")).logits
    shares, numbers = torch.nn.functional.softmax(logits, dim=-1)[0].topk(5)
    predictions = [
        {"label": model.config.id2label[number.item()], "confidence": round(share.item(), 4)}
        for share, number in zip(shares, numbers, strict=True)
    ]
    spent_ms = (time.time() - started) * 1000
    database.add(
        Usage(
            user_id=user.id, endpoint="/v1/classify", at=datetime.now(UTC), response_time_ms=spent_ms, status_code=200
        )
    )
    database.commit()
    return {"predictions": predictions, "model": "resnet-18"}


@app.get("/ready")
async def ready() -> str:
    return "ready"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
