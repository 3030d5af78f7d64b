// What a C++ program may get wrong with the forecast bundle: a message each, and a stream that goes on.
#include <cmath>
#include <cstdio>
#include <functional>

#include "model.hpp"

using recurrent::input;

static int failed;

static void refused(const std::function<void()> &attempt) {
    try {
        attempt();
        failed = 1;
    } catch (const std::runtime_error &error) {
        std::printf("%s\n", error.what());
    }
}

int main() {
    refused([] { recurrent::Model nowhere("no-such-folder"); });
    recurrent::Model model("bundle");
    recurrent::Stream stream(model);
    const float half = 0.5f, quarter = -0.25f, wrong = NAN;
    const double other = 0.5;
    const float two[2] = {0.5f, 0.5f};
    refused([&] { stream.push(input("values", {1, 0, 1}, &half)); });
    refused([&] { stream.push(input("values", {2, 1, 1}, two)); });
    refused([&] { stream.push(input("values", {1, 1}, &half)); });
    refused([&] { stream.push(input("values", {1, 1, 1}, &wrong)); });
    refused([&] { stream.push(input("values", {1, 1, 1}, &other)); });
    refused([&] { stream.push(input("nothing", {1, 1, 1}, &half)); });
    refused([&] { stream.push(std::vector<tensor>{}); });
    refused([&] { recurrent::Stream none(model, 0); });
    const float first = *stream.push(input("values", {1, 1, 1}, &half))[0].data<float>();
    refused([&] { stream.push(input("values", {1, 1, 1}, &wrong)); });
    const auto outputs = stream.push(input("values", {1, 1, 1}, &quarter));
    refused([&] { outputs.at("something"); });
    std::printf("%.9g\n%.9g\n", static_cast<double>(first), static_cast<double>(*outputs[0].data<float>()));
    return failed;
}
