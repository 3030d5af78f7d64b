"""Published networks for images and video, as their users write them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from collection.case import Case, floats, ids
from torch import Tensor, nn
from torch.nn import functional

H = 5
VIDEO = floats("batch", "sequence", 2, 4, 5)
LINE = floats("batch", 1, 8, "width")


class BidirectionalLSTM(nn.Module):
    """CRNN's layer: a linear layer on time and batch joined."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True)
        self.embedding = nn.Linear(hidden * 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        recurrent, _ = self.rnn(x)
        t, b, h = recurrent.size()
        output = self.embedding(recurrent.view(t * b, h))
        return output.view(t, b, -1)


class TextLine(nn.Module):
    """CRNN: pools the height away, keeps the width as time, asserts that the height is one."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential()
        sizes = [1, 3, 4, 6]
        for i in range(3):
            self.cnn.add_module(f"conv{i}", nn.Conv2d(sizes[i], sizes[i + 1], 3, 1, 1))
            if i == 1:
                self.cnn.add_module(f"batchnorm{i}", nn.BatchNorm2d(sizes[i + 1]))
            self.cnn.add_module(f"relu{i}", nn.ReLU(True))
            self.cnn.add_module(f"pool{i}", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
        self.rnn = nn.Sequential(BidirectionalLSTM(6, H, H), BidirectionalLSTM(H, H, 7))

    def forward(self, image: Tensor) -> Tensor:
        conv = self.cnn(image)
        _, _, height, _ = conv.size()
        assert height == 1, f"the height of conv must be 1, got {height}"
        return self.rnn(conv.squeeze(2).permute(2, 0, 1))


class AttentionOCR(nn.Module):
    """Reads a line letter by letter, with its own attention; the first letter is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (8, 3), padding=(0, 1))
        self.rnn = nn.GRU(4, H, bidirectional=True, batch_first=True)
        self.i2h, self.h2h = nn.Linear(2 * H, H, bias=False), nn.Linear(H, H)
        self.score, self.cell = nn.Linear(H, 1, bias=False), nn.LSTMCell(2 * H + 7, H)
        self.generator = nn.Linear(H, 7)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        features = self.conv(image)[:, :, 0].transpose(1, 2)
        memory = self.rnn(features)[0]
        batch, steps = image.size(0), text.size(1)
        out = torch.FloatTensor(batch, steps, H).fill_(0).to(image.device)
        hidden = (torch.zeros(batch, H), torch.zeros(batch, H))
        for i in range(steps):
            char = torch.zeros(batch, 7).scatter_(1, text[:, i].unsqueeze(1), 1)
            e = self.score(torch.tanh(self.i2h(memory) + self.h2h(hidden[0]).unsqueeze(1)))
            alpha = functional.softmax(e, dim=1)
            context = torch.bmm(alpha.permute(0, 2, 1), memory).squeeze(1)
            hidden = self.cell(torch.cat([context, char], 1), hidden)
            out[:, i, :] = hidden[0]
        return self.generator(out)


class ShowAttendTell(nn.Module):
    """Soft attention over an image of any size, gated, doubly stochastic weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.encoder_att, self.decoder_att = nn.Linear(6, 4), nn.Linear(H, 4)
        self.full_att, self.embedding = nn.Linear(4, 1), nn.Embedding(9, 3)
        self.init_h, self.init_c = nn.Linear(6, H), nn.Linear(6, H)
        self.f_beta, self.fc = nn.Linear(H, 6), nn.Linear(H, 9)
        self.decode_step = nn.LSTMCell(3 + 6, H, bias=True)

    def forward(self, image: Tensor, captions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = torch.relu(self.conv(image)).permute(0, 2, 3, 1)
        batch = features.size(0)
        features = features.reshape(batch, -1, 6)
        mean = features.mean(dim=1)
        h, c = self.init_h(mean), self.init_c(mean)
        embedded = self.embedding(captions)
        predictions = torch.zeros(batch, captions.size(1), 9)
        alphas = torch.zeros(batch, captions.size(1), features.size(1))
        for t in range(captions.size(1)):
            att = self.full_att(
                torch.relu(self.encoder_att(features) + self.decoder_att(h)[:, None])
            )
            alpha = torch.softmax(att.squeeze(2), 1)
            awe = torch.sigmoid(self.f_beta(h)) * (features * alpha.unsqueeze(2)).sum(dim=1)
            h, c = self.decode_step(torch.cat([embedded[:, t, :], awe], dim=1), (h, c))
            predictions[:, t, :] = self.fc(h)
            alphas[:, t, :] = alpha
        # Relative to even weights: the plain sum squares the rounding of all words.
        share = alphas.mean(dim=1) * features.size(1)
        return predictions, alphas, ((1.0 - share) ** 2).mean()


class ConvLSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, (3, 3), padding=(1, 1))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        gates = self.conv(torch.cat([x, h], dim=1))
        i, f, o, g = torch.split(gates, self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def init_hidden(self, batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(batch, self.hidden, *size, device=self.conv.weight.device)
        return zeros, zeros.clone()


class ConvLSTMLayers(nn.Module):
    """Layer after layer in lists of states, all layers' outputs returned."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([ConvLSTMCell(2, 3), ConvLSTMCell(3, 2)])

    def forward(
        self, x: Tensor, hidden_state: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        b, seq_len, _, h, w = x.size()
        if hidden_state is not None:
            raise NotImplementedError()
        hidden_state = []
        for cell in self.cells:
            assert isinstance(cell, ConvLSTMCell)
            hidden_state.append(cell.init_hidden(b, (h, w)))
        outputs, lasts, current = [], [], x
        for index, cell in enumerate(self.cells):
            h_now, c_now = hidden_state[index]
            inner = []
            for t in range(seq_len):
                h_now, c_now = cell(x=current[:, t, :, :, :], state=[h_now, c_now])
                inner.append(h_now)
            current = torch.stack(inner, dim=1)
            outputs.append(current)
            lasts.append([h_now, c_now])
        return outputs[-1:], lasts[-1:]


class PredRNN(nn.Module):
    """Spatiotemporal memory that climbs the layers and comes back at the next frame."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(n + 6, 18, 3, padding=1) for n in (2, 3)])
        self.last, self.out = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 2, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        batch, _, _, height, width = frames.shape
        h_t, c_t = [], []
        for _ in range(2):
            zeros = torch.zeros([batch, 3, height, width]).to(frames.device)
            h_t.append(zeros)
            c_t.append(zeros)
        memory = torch.zeros([batch, 3, height, width])
        predicted = []
        for t in range(frames.shape[1]):
            net = frames[:, t]
            for i in range(2):
                gates = self.convs[i](torch.cat([net, h_t[i], memory], 1))
                i_t, f_t, g_t, i_m, f_m, g_m = torch.chunk(gates, 6, dim=1)
                c_t[i] = torch.sigmoid(f_t + 1.0) * c_t[i] + torch.sigmoid(i_t) * torch.tanh(g_t)
                memory = torch.sigmoid(f_m + 1.0) * memory + torch.sigmoid(i_m) * torch.tanh(g_m)
                h_t[i] = torch.tanh(self.last(torch.cat((c_t[i], memory), 1)))
                net = h_t[i]
            predicted.append(self.out(h_t[-1]))
        return torch.stack(predicted, dim=0).permute(1, 0, 3, 4, 2).contiguous()


class LRCN(nn.Module):
    """A small CNN on each frame in a loop, an LSTM over them, the mean of the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))
        )
        self.rnn, self.fc = nn.LSTM(4, H, batch_first=True), nn.Linear(H, 3)

    def forward(self, clip: Tensor) -> Tensor:
        embedded = []
        for t in range(clip.size(1)):
            x = self.cnn(clip[:, t, :, :, :])
            embedded.append(x.view(x.size(0), -1))
        sequence = torch.stack(embedded, dim=0).transpose_(0, 1)
        self.rnn.flatten_parameters()
        y, _ = self.rnn(sequence)
        return self.fc(functional.dropout(functional.relu(y), 0.3, self.training)).mean(dim=1)


class ReNet(nn.Module):
    """Rows, then columns, of patches of an image of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.GRU(2 * 4, H, bidirectional=True, batch_first=True)
        self.columns = nn.GRU(2 * H, H, bidirectional=True, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        x = image.unfold(2, 2, 2).unfold(3, 2, 2)
        b, c, h, w, p, q = x.size()
        x = x.permute(0, 2, 3, 1, 4, 5).contiguous().view(b * h, w, c * p * q)
        x, _ = self.rows(x)
        x = x.contiguous().view(b, h, w, 2 * H).permute(0, 2, 1, 3).reshape(b * w, h, 2 * H)
        x, _ = self.columns(x)
        return x.reshape(b, w, h, 2 * H).permute(0, 3, 2, 1)


class RowLSTM(nn.Module):
    """PixelRNN: an LSTM over rows, whose transitions are convolutions along a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Conv1d(2, 4 * H, 3, padding=2)
        self.states = nn.Conv1d(H, 4 * H, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        n, _, rows, width = image.shape
        h, c = image.new_zeros((n, H, width)), image.new_zeros((n, H, width))
        result: list[Tensor] = []
        for row in image.split(1, dim=2):
            gates = self.inputs(row.squeeze(2))[..., :-2] + self.states(h)
            o, f, i = gates[:, : 3 * H].sigmoid().view(n, 3, H, width).unbind(1)
            c = f * c + i * gates[:, 3 * H :].tanh()
            h = o * c.tanh()
            result.append(h)
        assert len(result) == rows
        return torch.stack(result, 2)


class SpatialIRNN(nn.Module):
    """Four directions of identity recurrences over a feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((3, 1), 0.5))
        self.input = nn.Conv2d(2, 3, 1)

    def sweep(self, x: Tensor) -> Tensor:
        x = x.clone()
        for i in range(1, x.size(2)):
            x[:, :, i] = functional.relu(x[:, :, i - 1] * self.alpha + x[:, :, i])
        return x

    def forward(self, image: Tensor) -> Tensor:
        x = self.input(image)
        down, up = self.sweep(x), self.sweep(x.flip(2)).flip(2)
        right = self.sweep(x.transpose(2, 3)).transpose(2, 3)
        return torch.cat((down, up, right), dim=1)


class Draw(nn.Module):
    """Draws in fixed steps: Gaussian filters by batch products, a canvas that is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.LSTMCell(2 * 9 + H, H), nn.LSTMCell(4, H)
        self.mu, self.sigma = nn.Linear(H, 4), nn.Linear(H, 4)
        self.window, self.write = nn.Linear(H, 5), nn.Linear(H, 9)

    def filters(self, h: Tensor, a: int, b: int) -> tuple[Tensor, Tensor, Tensor]:
        gx, gy, log_var, log_delta, log_gamma = self.window(h).split(1, 1)
        grid = torch.arange(3, dtype=torch.float32).view(1, -1) - 1.0
        delta = torch.exp(log_delta)
        banks = []
        for center, size in ((gx, a), (gy, b)):
            mu = (size + 1) / 2 * (center + 1) + grid * delta
            places = torch.arange(size).view(1, 1, -1)
            bank = torch.exp(
                -torch.pow(places - mu.unsqueeze(2), 2) / (2 * log_var.exp().unsqueeze(2))
            )
            banks.append(bank / (bank.sum(2, True).expand_as(bank) + 1e-8))
        return banks[0], banks[1], log_gamma.exp()

    def read(self, x: Tensor, h: Tensor) -> Tensor:
        fx, fy, gamma = self.filters(h, 6, 6)
        return (fy @ x @ fx.permute(0, 2, 1)).reshape(-1, 9) * gamma

    def forward(self, image: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        n = image.size(0)
        canvas, h_dec = torch.zeros_like(image), torch.zeros(n, H)
        enc = dec = (torch.zeros(n, H), torch.zeros(n, H))
        kl = torch.zeros(n)
        for eps in noise:
            error = image - torch.sigmoid(canvas)
            patches = torch.cat([self.read(image, h_dec), self.read(error, h_dec), h_dec], 1)
            enc = self.encoder(patches, enc)
            mu, log_sigma = self.mu(enc[0]), self.sigma(enc[0])
            z = mu + log_sigma.exp() * eps
            kl = kl + 0.5 * (mu**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(1)
            dec = self.decoder(z, dec)
            h_dec = dec[0]
            fx, fy, gamma = self.filters(h_dec, 6, 6)
            w = self.write(h_dec).view(-1, 3, 3)
            canvas = canvas + torch.bmm(fy.mT, w).bmm(fx) / gamma.view(-1, 1, 1)
        return canvas.sigmoid(), kl


class Glimpses(nn.Module):
    """Recurrent attention: samples the image on a grid where the state looks next."""

    def __init__(self) -> None:
        super().__init__()
        self.sensor, self.core = nn.Linear(9 + 2, H), nn.GRUCell(H, H)
        self.locator, self.classifier = nn.Linear(H, 2), nn.Linear(H, 4)
        axis = torch.linspace(-0.2, 0.2, 3)
        self.register_buffer("grid", torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1))

    grid: Tensor

    def forward(self, image: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        where, h, trail = torch.zeros(image.size(0), 2), None, []
        for jitter in steps.unbind(1):
            grid = self.grid[None] + where.view(-1, 1, 1, 2)
            patch = functional.grid_sample(image, grid, align_corners=False)
            h = self.core(torch.relu(self.sensor(torch.cat([patch.flatten(1), where], 1))), h)
            where = torch.tanh(self.locator(h) + 0.1 * jitter)
            trail.append(where)
        return functional.log_softmax(self.classifier(h), -1), torch.stack(trail, 1)


IMAGE = floats("batch", 2, "rows", "columns")
CASES = [
    Case(TextLine, (LINE,)),
    Case(AttentionOCR, (LINE, ids(7, "batch", "letters"))),
    Case(ShowAttendTell, (IMAGE, ids(9, "batch", "words"))),
    Case(ConvLSTMLayers, (VIDEO,)),
    Case(PredRNN, (VIDEO,)),
    Case(LRCN, (VIDEO,)),
    Case(ReNet, (floats("batch", 2, "rows", "columns"),)),
    Case(RowLSTM, (IMAGE,)),
    Case(SpatialIRNN, (IMAGE,)),
    Case(Draw, (floats("batch", 6, 6), [floats("batch", 4) for _ in range(4)])),
    Case(Glimpses, (floats("batch", 1, 8, 8), floats("batch", "steps", 2))),
]
