"""Published networks for text, as their users write them."""

from __future__ import annotations

from functools import partial

import torch
from collection.case import Case, floats, ids, lengths_of, masks
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H, V = 6, 5, 11
WORDS = ids(V, "batch", "sequence")
LENGTHS = lengths_of("sequence", "batch")
QUESTION = ids(V, "batch", "question")


class ELMo(nn.Module):
    """Characters to words, both language models apart, layers mixed by learned weights."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(13, 4, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(4, 3, k) for k in (1, 2, 3)])
        self.highway, self.project = nn.Linear(9, 18), nn.Linear(9, F)
        self.forwards = nn.ModuleList([nn.LSTM(F, F, batch_first=True) for _ in range(2)])
        self.backwards = nn.ModuleList([nn.LSTM(F, F, batch_first=True) for _ in range(2)])
        self.scalars = nn.ParameterList([nn.Parameter(torch.tensor([0.1 * i])) for i in range(3)])
        self.gamma = nn.Parameter(torch.tensor([1.5]))

    def forward(self, characters: Tensor) -> Tensor:
        batch, steps, width = characters.size()
        y = self.characters(characters.view(-1, width)).transpose(1, 2)
        y = torch.cat([torch.max(torch.relu(conv(y)), dim=-1)[0] for conv in self.convs], dim=-1)
        nonlinear, gate = torch.chunk(self.highway(y), 2, dim=-1)
        gate = torch.sigmoid(gate)
        y = self.project(gate * y + (1 - gate) * torch.relu(nonlinear)).view(batch, steps, -1)
        layers, ahead, behind = [torch.cat([y, y], -1)], y, y
        for f, b in zip(self.forwards, self.backwards, strict=True):
            ahead = f(ahead)[0] + ahead
            behind = torch.flip(b(torch.flip(behind, dims=(1,)))[0], dims=(1,)) + behind
            layers.append(torch.cat([ahead, behind], dim=-1))
        weights = functional.softmax(torch.cat(list(self.scalars)), dim=0).split(1)
        return self.gamma * sum(w * layer for w, layer in zip(weights, layers, strict=True))


class LockedDropout(nn.Module):
    def forward(self, x: Tensor, rate: float = 0.5) -> Tensor:
        if not self.training or not rate:
            return x
        mask = x.data.new_empty(1, x.size(1), x.size(2)).bernoulli_(1 - rate)
        return x * mask / (1 - rate)


class WeightDrop(nn.Module):
    """AWD: raw weights held outside of the layer, put into it before each call."""

    def __init__(self, module: nn.LSTM) -> None:
        super().__init__()
        self.module = module
        self.raw = nn.Parameter(module.get_parameter("weight_hh_l0").data)
        del module._parameters["weight_hh_l0"]

    def forward(self, *args: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        weight = functional.dropout(self.raw, p=0.5, training=self.training)
        self.module.weight_hh_l0 = weight
        return self.module(*args)


class AWDLanguageModel(nn.Module):
    """Embedding dropout, locked dropout, dropped weights, tied softmax; time first."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.encoder = LockedDropout(), nn.Embedding(V, F)
        self.rnns = nn.ModuleList([WeightDrop(nn.LSTM(F, H)), WeightDrop(nn.LSTM(H, F))])
        self.decoder = nn.Linear(F, V)
        self.decoder.weight = self.encoder.weight

    def forward(
        self, words: Tensor, hidden: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        y, new = self.lock(self.encoder(words)), []
        for number, rnn in enumerate(self.rnns):
            y, state = rnn(y, hidden[number])
            new.append(state)
            y = self.lock(y)
        decoded = self.decoder(y.view(y.size(0) * y.size(1), y.size(2)))
        return decoded.view(y.size(0), y.size(1), decoded.size(1)), new


class ForgetMult(nn.Module):
    """QRNN's pooling, over frames split from a tensor."""

    def forward(self, f: Tensor, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        result = []
        forgets, h = f.split(1, dim=0), hidden
        for i, step in enumerate((f * x).split(1, dim=0)):
            if h is not None:
                step = step + (1 - forgets[i]) * h
            h = step.view(step.size()[1:])
            result.append(h)
        return torch.stack(result)


class QuasiRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.pool = nn.Linear(2 * F, 3 * H), ForgetMult()

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        past = torch.cat([x[:1] * 0, x[:-1]], dim=0)
        z, f, o = self.linear(torch.cat([x, past], 2)).chunk(3, dim=2)
        c = self.pool(f.sigmoid(), z.tanh(), hidden)
        return o.sigmoid() * c, c[-1:]


class Viterbi(nn.Module):
    """BiLSTM-CRF: the best path's score at each step and where it came from."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, F)
        self.lstm = nn.LSTM(F, H, bidirectional=True)
        self.tags, self.transitions = nn.Linear(2 * H, 4), nn.Parameter(torch.randn(4, 4))
        self.start, self.end = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        emissions = self.tags(self.lstm(self.embedding(words.t()))[0])
        score, history = self.start + emissions[0], []
        for emission in emissions[1:]:
            all_scores = score.unsqueeze(2) + self.transitions + emission.unsqueeze(1)
            score, indices = all_scores.max(dim=1)
            history.append(indices)
        score = score + self.end
        best, last = score.max(dim=1)
        path = [last]
        for indices in reversed(history):
            path.append(indices.gather(1, path[-1].unsqueeze(1)).squeeze(1))
        path.reverse()
        return best, torch.stack(path, dim=1)


class CRFLoss(nn.Module):
    """Log-likelihood of tags under a mask: numerator by gather, normalizer by log-sum-exp."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(V, F), nn.LSTM(F, H, batch_first=True)
        self.emit, self.transitions = nn.Linear(H, 4), nn.Parameter(torch.randn(4, 4))
        self.start = nn.Parameter(torch.randn(4))

    def forward(self, words: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        emissions = self.emit(self.lstm(self.embedding(words))[0])
        weights = mask.to(emissions.dtype)
        batch = torch.arange(words.size(0))
        score = self.start[tags[:, 0]] + emissions[:, 0].gather(1, tags[:, :1]).squeeze(1)
        alpha = self.start + emissions[:, 0]
        for i in range(1, words.size(1)):
            score = score + self.transitions[tags[:, i - 1], tags[:, i]] * weights[:, i]
            score = score + emissions[batch, i, tags[:, i]] * weights[:, i]
            following = alpha.unsqueeze(2) + self.transitions + emissions[:, i].unsqueeze(1)
            following = torch.logsumexp(following, dim=1)
            alpha = torch.where(mask[:, i].unsqueeze(1), following, alpha)
        return score - torch.logsumexp(alpha, dim=1)


class BiDAF(nn.Module):
    """Attention in both directions between passage and question."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, F)
        self.context = nn.LSTM(F, H, bidirectional=True, batch_first=True)
        self.similarity = nn.Linear(6 * H, 1, bias=False)
        self.modeling = nn.LSTM(8 * H, H, bidirectional=True, batch_first=True)
        self.start, self.end = nn.Linear(10 * H, 1), nn.Linear(10 * H, 1)
        self.end_rnn = nn.LSTM(2 * H, H, bidirectional=True, batch_first=True)

    def forward(self, passage: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        c, q = self.context(self.embedding(passage))[0], self.context(self.embedding(question))[0]
        c_len, q_len = c.size(1), q.size(1)
        cs, qs = c.unsqueeze(2).expand(-1, -1, q_len, -1), q.unsqueeze(1).expand(-1, c_len, -1, -1)
        s = self.similarity(torch.cat([cs, qs, cs * qs], dim=-1)).squeeze(-1)
        c2q = torch.bmm(functional.softmax(s, dim=2), q)
        b = functional.softmax(torch.max(s, dim=2)[0], dim=1).unsqueeze(1)
        q2c = torch.bmm(b, c).squeeze(1).unsqueeze(1).expand(-1, c_len, -1)
        g = torch.cat([c, c2q, c * c2q, c * q2c], dim=-1)
        m = self.modeling(g)[0]
        p1 = self.start(torch.cat([g, m], dim=-1)).squeeze(-1)
        p2 = self.end(torch.cat([g, self.end_rnn(m)[0]], dim=-1)).squeeze(-1)
        return p1, p2


class SelfMatching(nn.Module):
    """R-Net: a gated attention cell over the passage itself, at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, F)
        self.passage = nn.GRU(F, H, batch_first=True)
        self.w1, self.w2, self.v = nn.Linear(H, 4), nn.Linear(H, 4), nn.Linear(4, 1)
        self.gate, self.cell = nn.Linear(2 * H, 2 * H, bias=False), nn.GRUCell(2 * H, H)

    def forward(self, words: Tensor) -> Tensor:
        memory, last = self.passage(self.embedding(words))
        h, out = last.squeeze(0), torch.zeros_like(memory)
        keys = self.w1(memory)
        for t in range(memory.size(1)):
            v_t = memory[:, t, :]
            scores = self.v(torch.tanh(keys + self.w2(v_t)[:, None, :]))
            c = (functional.softmax(scores, dim=1) * memory).sum(dim=1)
            rnn_input = torch.cat([v_t, c], dim=1)
            h = self.cell(torch.sigmoid(self.gate(rnn_input)) * rnn_input, h)
            out[:, t, :] = h
        return out


class ESIM(nn.Module):
    """Premise and hypothesis, softly aligned under masks, composed, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, F, padding_idx=0)
        self.encode = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.project = nn.Sequential(nn.Linear(8 * H, H), nn.ReLU(), nn.Dropout(0.5))
        self.compose = nn.LSTM(H, H, batch_first=True, bidirectional=True)
        self.classify = nn.Sequential(nn.BatchNorm1d(8 * H), nn.Linear(8 * H, 3))

    def pool(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        m = mask.float().unsqueeze(2)
        mean = torch.sum(x * m, dim=1) / m.sum(dim=1).clamp(min=1)
        return [mean, x.masked_fill(m == 0, -1e7).max(dim=1)[0]]

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        m1, m2 = one != 0, other.ne(0)
        a, b = self.encode(self.embedding(one))[0], self.encode(self.embedding(other))[0]
        e = torch.matmul(a, b.permute(0, 2, 1))
        w1 = torch.softmax(e + (~m2)[:, None, :].float() * -1e7, dim=2)
        w2 = torch.softmax(e.transpose(1, 2) + (~m1)[:, None, :].float() * -1e7, dim=2)
        pooled = []
        for x, aligned, mask in ((a, w1 @ b, m1), (b, w2 @ a, m2)):
            y = self.project(torch.cat([x, aligned, x - aligned, torch.mul(x, aligned)], dim=-1))
            pooled += self.pool(self.compose(y)[0], mask)
        return self.classify(torch.cat(pooled, dim=1))


class LuongDecoder(nn.Module):
    """An nn.GRU called on one word at a time; dot, general or concat scores; time first."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method, self.embedding = method, nn.Embedding(V, H)
        self.encoder = nn.GRU(H, H, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(H, H, 2)
        self.attn = nn.Linear(2 * H if method == "concat" else H, H)
        self.v = nn.Parameter(torch.randn(H))
        self.concat, self.out = nn.Linear(2 * H, H), nn.Linear(H, V)

    def score(self, hidden: Tensor, memory: Tensor) -> Tensor:
        if self.method == "dot":
            return torch.sum(hidden * memory, dim=2)
        if self.method == "general":
            return torch.sum(hidden * self.attn(memory), dim=2)
        both = torch.cat((hidden.expand(memory.size(0), -1, -1), memory), 2)
        return torch.sum(self.v * self.attn(both).tanh(), dim=2)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(source), lengths, enforce_sorted=False)
        outputs, hidden = self.encoder(packed)
        memory, _ = pad_packed_sequence(outputs)
        memory, hidden = memory[:, :, :H] + memory[:, :, H:], hidden[:2]
        result = []
        for t in range(target.size(0)):
            y, hidden = self.gru(self.embedding(target[t].view(1, -1)), hidden)
            weights = functional.softmax(self.score(y, memory).t(), dim=1).unsqueeze(1)
            context = weights.bmm(memory.transpose(0, 1)).squeeze(1)
            y = torch.tanh(self.concat(torch.cat((y.squeeze(0), context), 1)))
            result.append(functional.softmax(self.out(y), dim=1))
        return torch.stack(result)


class PointerGenerator(nn.Module):
    """Coverage, generation probability, copying by scatter_add into an extended vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, F)
        self.encoder = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.reduce_h, self.reduce_c = nn.Linear(2 * H, H), nn.Linear(2 * H, H)
        self.x_context, self.lstm = nn.Linear(F + 2 * H, F), nn.LSTM(F, H, batch_first=True)
        self.w_h, self.w_s = nn.Linear(2 * H, H, bias=False), nn.Linear(2 * H, H)
        self.w_c, self.v = nn.Linear(1, H, bias=False), nn.Linear(H, 1, bias=False)
        self.p_gen, self.out = nn.Linear(4 * H + F, 1), nn.Linear(3 * H, V)

    def forward(
        self, words: Tensor, mask: Tensor, extended: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        memory, (h, c) = self.encoder(self.embedding(words))
        keys, b = self.w_h(memory), words.size(0)
        h = torch.relu(self.reduce_h(h.transpose(0, 1).contiguous().view(-1, 2 * H))).unsqueeze(0)
        c = torch.relu(self.reduce_c(c.transpose(0, 1).contiguous().view(-1, 2 * H))).unsqueeze(0)
        coverage, context = torch.zeros_like(mask).float(), words.new_zeros(b, 2 * H).float()
        extra = torch.zeros(b, 3)
        finals, losses, state = [], [], (h, c)
        for step in range(target.shape[1]):
            x = self.x_context(torch.cat((context, self.embedding(target[:, step])), 1))
            y, state = self.lstm(x.unsqueeze(1), state)
            s = torch.cat((state[0].view(-1, H), state[1].view(-1, H)), 1)
            energy = keys + self.w_s(s).unsqueeze(1) + self.w_c(coverage.unsqueeze(2))
            scores = self.v(torch.tanh(energy)).squeeze(2)
            a = functional.softmax(scores, dim=1) * mask.float()
            a = a / a.sum(1, keepdim=True)
            context = torch.bmm(a.unsqueeze(1), memory).view(-1, 2 * H)
            p = torch.sigmoid(self.p_gen(torch.cat((context, s, x), 1)))
            vocabulary = functional.softmax(self.out(torch.cat((y.squeeze(1), context), 1)), dim=1)
            final = torch.cat([p * vocabulary, extra], 1).scatter_add(1, extended, (1 - p) * a)
            finals.append(torch.log(final + 1e-8))
            losses.append(torch.sum(torch.min(a, coverage), 1))
            coverage = coverage + a
        return torch.stack(finals, 1), torch.stack(losses, 1).mean(1)


CASES = [
    Case(ELMo, (ids(13, "batch", "sequence", 5),)),
    Case(
        AWDLanguageModel,
        (
            ids(V, "sequence", "batch"),
            [(floats(1, "batch", n), floats(1, "batch", n)) for n in (H, F)],
        ),
    ),
    Case(QuasiRecurrent, (floats("sequence", "batch", F),)),
    Case(
        QuasiRecurrent,
        (floats("sequence", "batch", F), floats("batch", H)),
        name="QuasiRecurrentGoesOn",
    ),
    Case(Viterbi, (WORDS,)),
    Case(CRFLoss, (WORDS, ids(4, "batch", "sequence"), masks("batch", "sequence"))),
    Case(BiDAF, (WORDS, QUESTION)),
    Case(SelfMatching, (WORDS,)),
    Case(ESIM, (WORDS, QUESTION)),
    *[
        Case(
            partial(LuongDecoder, method),
            (ids(V, "source", "batch"), lengths_of("source", "batch"), ids(V, "target", "batch")),
            name=f"Luong{method.title()}",
        )
        for method in ("dot", "concat")
    ],
    Case(
        PointerGenerator,
        (WORDS, masks("batch", "sequence"), ids(V + 3, "batch", "sequence"), QUESTION),
    ),
]
