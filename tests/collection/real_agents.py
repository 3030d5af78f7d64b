"""Published networks of agents, world models, recommenders and session graphs."""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

import torch
from collection.case import Case, flags, floats, ids, lengths_of, masks
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H = 5, 6
X = floats("batch", "sequence", F)
TIME_FIRST = floats("sequence", "batch", F)


class DRQN(nn.Module):
    """Convolutions on each frame, an LSTM, dueling heads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.lstm = nn.LSTM(12, H, batch_first=True)
        self.advantage, self.value = nn.Linear(H, 4), nn.Linear(H, 1)

    def forward(
        self, x: Tensor, hidden: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, t = x.shape[:2]
        y = self.conv(x.flatten(0, 1)).unflatten(0, (b, t))
        if hidden is None:
            hidden = (torch.zeros(1, b, H), torch.zeros(1, b, H))
        y, hidden = self.lstm(y, hidden)
        a, v = self.advantage(y), self.value(y)
        return v + (a - a.mean(dim=-1, keepdim=True)), hidden


class ActorCritic(nn.Module):
    """A2C over a rollout: the state is zeroed where an episode has ended; batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.cell = nn.Linear(F, H), nn.LSTMCell(H, H)
        self.pi, self.v = nn.Linear(H, 3), nn.Linear(H, 1)

    def forward(
        self, observations: Tensor, masks: Tensor, hx: Tensor, cx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = functional.elu(self.body(observations))
        hs = []
        for x, mask in zip(features.unbind(1), masks.unbind(1), strict=True):
            hx, cx = self.cell(x, (hx * mask.unsqueeze(1), cx * mask.unsqueeze(1)))
            hs.append(hx)
        h = torch.stack(hs, dim=1)
        return functional.softmax(self.pi(h), -1), self.v(h).squeeze(-1), hx, cx


class KostrikovPolicy(nn.Module):
    """A GRU that is called on one step, with flattened time and batch put back before."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(F, H)
        for name, parameter in self.gru.named_parameters():
            if "bias" in name:
                nn.init.constant_(parameter, 0)
            elif "weight" in name:
                nn.init.orthogonal_(parameter)

    def forward(self, x: Tensor, hxs: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        state, out = hxs.unsqueeze(0), []
        for i in range(x.size(1)):
            keep = (1.0 - done[:, i]).view(1, -1, 1)
            scores, state = self.gru(x[:, i].unsqueeze(0), state * keep)
            out.append(scores)
        y = torch.cat(out, dim=0).transpose(0, 1)
        return y, state.squeeze(0)


class BurnIn(nn.Module):
    """R2D2: the first four steps only warm up the state, under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(F, H, batch_first=True), nn.Linear(H, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        with torch.no_grad():
            _, state = self.lstm(x[:, :4], (h, c))
        y, _ = self.lstm(torch.cat([x[:, 4:], x[:, -1:]], 1), tuple(s.detach() for s in state))
        return self.head(y).max(-1).values


class MixtureDensity(nn.Module):
    """A world model's MDN-RNN: mixtures of Gaussians, rewards, ends."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.gmm = nn.LSTM(F + 2, H), nn.Linear(H, (2 * F + 1) * 3 + 2)

    def forward(self, actions: Tensor, latents: Tensor) -> tuple[Tensor, ...]:
        steps, batch = actions.size(0), actions.size(1)
        outs, _ = self.rnn(torch.cat([actions, latents], dim=-1))
        gmm = self.gmm(outs)
        stride = 3 * F
        mus = gmm[:, :, :stride].view(steps, batch, 3, F)
        sigmas = torch.exp(gmm[:, :, stride : 2 * stride].view(steps, batch, 3, F))
        pi = gmm[:, :, 2 * stride : 2 * stride + 3].view(steps, batch, 3)
        return mus, sigmas, functional.log_softmax(pi, dim=-1), gmm[..., -2], gmm[..., -1]


State = namedtuple("State", ["deterministic", "mean", "std", "stochastic"])


class Recurrent(nn.Module):
    """Dreamer's RSSM: prior and posterior at every step, noise given, states in namedtuples."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.cell = nn.Linear(3 + 2, H), nn.GRUCell(H, H)
        self.prior, self.posterior = nn.Linear(H, 6), nn.Linear(H + F, 6)

    def draw(self, raw: Tensor, deterministic: Tensor, noise: Tensor) -> State:
        mean, std = torch.chunk(raw, 2, dim=-1)
        std = functional.softplus(std) + 0.1
        return State(deterministic, mean, std, mean + std * noise)

    def forward(self, embedded: Tensor, actions: Tensor, noise: Tensor) -> tuple[State, State]:
        b, t = embedded.shape[0], embedded.shape[1]
        state = State(*(torch.zeros(b, n, device=embedded.device) for n in (H, 3, 3, 3)))
        priors, posteriors = [], []
        for i in range(t):
            x = functional.elu(self.inputs(torch.cat([state.stochastic, actions[:, i]], -1)))
            deterministic = self.cell(x, state.deterministic)
            priors.append(self.draw(self.prior(deterministic), deterministic, noise[:, i]))
            both = torch.cat([deterministic, embedded[:, i]], dim=-1)
            state = self.draw(self.posterior(both), deterministic, noise[:, i])
            posteriors.append(state)
        stack = [
            State(*(torch.stack(x, dim=1) for x in zip(*s, strict=True)))
            for s in (priors, posteriors)
        ]
        return stack[0], stack[1]


class SessionGRU(nn.Module):
    """GRU4Rec: one-hot items, the last valid step, scores by the item embedding, top items."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.items = nn.GRU(12, H, 2, batch_first=True), nn.Embedding(12, H)

    def forward(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        one_hot = torch.zeros(*items.shape, 12).scatter_(2, items.unsqueeze(2), 1.0)
        y, _ = self.gru(one_hot)
        index = (lengths - 1).view(-1, 1, 1).expand(-1, -1, y.shape[-1])
        last = y.gather(dim=1, index=index).squeeze(1)
        top = torch.topk(last @ self.items.weight.t(), k=3, dim=-1)
        return top.values, top.indices


class NARM(nn.Module):
    """Attention of the last state over all states under a mask from the items; time first."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.gru = nn.Embedding(12, F, padding_idx=0), nn.GRU(F, H)
        self.a_1, self.a_2 = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
        self.v_t, self.b = nn.Linear(H, 1, bias=False), nn.Linear(F, 2 * H, bias=False)

    def forward(self, seq: Tensor, lengths: Tensor) -> Tensor:
        hidden = torch.zeros((1, seq.size(1), H), device=seq.device)
        embs = pack_padded_sequence(self.emb(seq), lengths, enforce_sorted=False)
        out, hidden = self.gru(embs, hidden)
        out, lengths = pad_packed_sequence(out)
        ht, out = hidden[-1], out.permute(1, 0, 2)
        q1 = self.a_1(out.contiguous().view(-1, H)).view(out.size())
        mask = torch.where(seq.permute(1, 0) > 0, torch.ones(1), torch.zeros(1))[:, : out.size(1)]
        q2 = mask.unsqueeze(2).expand_as(q1) * self.a_2(ht).unsqueeze(1).expand_as(q1)
        alpha = self.v_t(torch.sigmoid(q1 + q2).view(-1, H)).view(mask.size())
        local = torch.sum(alpha.unsqueeze(2).expand_as(out) * out, 1)
        return torch.matmul(torch.cat([local, ht], 1), self.b(self.emb(torch.arange(12))).t())


class SessionGraph(nn.Module):
    """SR-GNN: gated steps over a session's graph, in and out edges, then soft attention."""

    def __init__(self) -> None:
        super().__init__()
        self.w_ih = nn.Parameter(torch.randn(3 * F, 2 * F) / 3)
        self.w_hh, self.b = (
            nn.Parameter(torch.randn(3 * F, F) / 3),
            nn.Parameter(torch.randn(3 * F)),
        )
        self.edges_in, self.edges_out = nn.Linear(F, F), nn.Linear(F, F)
        self.q, self.embedding = nn.Linear(F, 1, bias=False), nn.Embedding(12, F)

    def cell(self, a: Tensor, hidden: Tensor) -> Tensor:
        n = a.shape[1]
        incoming = torch.matmul(a[:, :, :n], self.edges_in(hidden))
        outgoing = torch.matmul(a[:, :, n : 2 * n], self.edges_out(hidden))
        gi = functional.linear(torch.cat([incoming, outgoing], 2), self.w_ih, self.b)
        gh = functional.linear(hidden, self.w_hh)
        (i_r, i_i, i_n), (h_r, h_i, h_n) = gi.chunk(3, 2), gh.chunk(3, 2)
        reset, update = torch.sigmoid(i_r + h_r), torch.sigmoid(i_i + h_i)
        new = torch.tanh(i_n + reset * h_n)
        return new + update * (hidden - new)

    def forward(self, items: Tensor, edges: Tensor, alias: Tensor, mask: Tensor) -> Tensor:
        hidden = self.embedding(items)
        for _ in range(2):
            hidden = self.cell(torch.cat([edges, edges.transpose(1, 2)], 2), hidden)
        get = [hidden[:, i] for i in range(1)]
        seq = torch.gather(hidden, 1, alias.unsqueeze(-1).expand(-1, -1, F))
        last = seq[torch.arange(mask.shape[0]).long(), torch.sum(mask.long(), 1) - 1]
        alpha = self.q(torch.sigmoid(last.view(last.shape[0], 1, F) + seq + get[0].unsqueeze(1)))
        return torch.sum(alpha * seq * mask.view(mask.shape[0], -1, 1).float(), 1)


class Decision(NamedTuple):
    logits: Tensor
    value: Tensor


class Relational(nn.Module):
    """An agent that attends over its LSTM's past with nn.MultiheadAttention, causally."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(F, H, batch_first=True)
        self.attention = nn.MultiheadAttention(H, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(H), nn.Linear(H, 4)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Decision:
        y = self.lstm(x)[0]
        causal = torch.triu(torch.ones(x.size(1), x.size(1), dtype=torch.bool), diagonal=1)
        padding = None if valid is None else ~valid
        z, _ = self.attention(y, y, y, key_padding_mask=padding, attn_mask=causal)
        *logits, value = self.head(self.norm(y + z)).unbind(-1)
        return Decision(torch.stack(logits, -1), value)


CASES = [
    Case(DRQN, (floats("batch", "sequence", 1, 6, 6),)),
    Case(
        DRQN,
        (
            floats("batch", "sequence", 1, 6, 6),
            (floats(1, "batch", H), floats(1, "batch", H)),
        ),
        name="DRQNGoesOn",
    ),
    Case(
        ActorCritic,
        (X, flags("batch", "sequence"), floats("batch", H), floats("batch", H)),
    ),
    Case(KostrikovPolicy, (X, floats("batch", H), flags("batch", "sequence"))),
    Case(BurnIn, (X, floats(1, "batch", H), floats(1, "batch", H))),
    Case(MixtureDensity, (floats("sequence", "batch", 2), TIME_FIRST)),
    Case(Recurrent, (X, floats("batch", "sequence", 2), floats("batch", "sequence", 3))),
    Case(SessionGRU, (ids(12, "batch", "sequence"), lengths_of("sequence", "batch"))),
    Case(NARM, (ids(12, "sequence", "batch"), lengths_of("sequence", "batch"))),
    Case(
        SessionGraph,
        (
            ids(12, "batch", 5),
            flags("batch", 5, 5),
            ids(5, "batch", "sequence"),
            masks("batch", "sequence"),
        ),
    ),
    Case(Relational, (X,)),
    Case(Relational, (X, masks("batch", "sequence")), name="RelationalPadded"),
]
