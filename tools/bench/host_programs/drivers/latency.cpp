// latency BUNDLE: for each count on standard input, run so many steps and print microseconds each.
#include <chrono>
#include <iostream>
#include <vector>

#include "model.hpp"

int main(int, char **arguments) {
    static std::vector<float> frame(1 << 16);
    recurrent::Model model(arguments[1]);
    recurrent::Stream stream(model);
    std::vector<tensor> inputs;
    for (int place = 0; place < stream_graph->input_count; place++) {
        const tensor_spec &spec = stream_graph->inputs[place];
        bool is_held = place == stream_graph->reset;
        for (int state = 0; state < stream_graph->state_count; state++)
            is_held |= stream_graph->states[state].input == place;
        if (is_held) continue;
        tensor made{};
        made.name = spec.name;
        made.type = spec.type;
        made.rank = spec.rank;
        made.data = frame.data();
        for (int dim = 0; dim < spec.rank; dim++)
            made.dims[dim] = spec.dims[dim].axis == CONTRACT_NONE ? spec.dims[dim].size : 1;
        inputs.push_back(made);
    }
    for (long steps; std::cin >> steps;) {
        const auto start = std::chrono::steady_clock::now();
        for (long step = 0; step < steps; step++) stream.push(inputs);
        const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
        std::cout << taken.count() / static_cast<double>(steps) << std::endl;
    }
}
