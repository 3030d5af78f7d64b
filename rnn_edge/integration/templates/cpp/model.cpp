#include "model.hpp"

#include <string>

namespace recurrent {

namespace {

void require(int failed, const model_error &error) {
    if (failed) throw std::runtime_error(error.text);
}

}  // namespace

Output Outputs::at(std::string_view name) const {
    for (std::size_t place = 0; place < count_; place++)
        if (name == first_[place].name) return Output(first_[place]);
    throw std::runtime_error("output must be one of the contract, got '" + std::string(name) + "'.");
}

Answers::~Answers() {
    if (!tensors_.empty()) tensors_free(with_, tensors_.data(), static_cast<int>(tensors_.size()));
}

Model::Model(const char *folder) {
    model_error error{};
    model *opened = nullptr;
    const int failed = model_open(&opened, folder, &error);
    opened_.reset(opened);
    require(failed, error);
}

Answers Model::run(const std::vector<tensor> &inputs) const {
    model_error error{};
    std::vector<tensor> found(static_cast<std::size_t>(model_graph.output_count));
    require(model_run(handle(), inputs.data(), static_cast<int>(inputs.size()), found.data(), &error), error);
    Answers answers(handle());
    answers.tensors_ = std::move(found);
    return answers;
}

Answers Model::ask(const tensor *inputs, std::size_t count) const {
    model_error error{};
    std::vector<tensor> found(static_cast<std::size_t>(pipeline_graph ? pipeline_graph->output_count : 0));
    require(pipeline_run(handle(), inputs, static_cast<int>(count), found.data(), &error), error);
    Answers answers(handle());
    answers.tensors_ = std::move(found);
    return answers;
}

Stream::Stream(const Model &of, std::int64_t batch) {
    model_error error{};
    stream *opened = nullptr;
    const int failed = stream_open(&opened, of.handle(), batch, &error);
    opened_.reset(failed ? nullptr : opened);
    require(failed, error);
    outputs_.resize(static_cast<std::size_t>(stream_graph->output_count));
}

Outputs Stream::push(const tensor *inputs, std::size_t count) {
    model_error error{};
    require(stream_push(opened_.get(), inputs, static_cast<int>(count), outputs_.data(), &error), error);
    return {outputs_.data(), outputs_.size()};
}

void Stream::resume(const std::vector<tensor> &states) {
    model_error error{};
    require(stream_resume(opened_.get(), states.data(), static_cast<int>(states.size()), &error), error);
}

}  // namespace recurrent
