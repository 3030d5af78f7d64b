/// A bundle in C++17: whole sequences with Model::run, chunks with Stream::push.
///
/// What the contract refuses is thrown as std::runtime_error; a refused push leaves its stream as it
/// was. The work is done by core/, in C over ONNX Runtime's C API.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "core/model.h"

namespace recurrent {

namespace detail {
template <class T> struct type_of;
template <> struct type_of<float> { static constexpr dtype value = DTYPE_FLOAT32; };
template <> struct type_of<double> { static constexpr dtype value = DTYPE_FLOAT64; };
template <> struct type_of<std::int64_t> { static constexpr dtype value = DTYPE_INT64; };
template <> struct type_of<std::int32_t> { static constexpr dtype value = DTYPE_INT32; };
template <> struct type_of<std::int16_t> { static constexpr dtype value = DTYPE_INT16; };
template <> struct type_of<std::int8_t> { static constexpr dtype value = DTYPE_INT8; };
template <> struct type_of<std::uint8_t> { static constexpr dtype value = DTYPE_UINT8; };
template <> struct type_of<const char *> { static constexpr dtype value = DTYPE_STRING; };
template <> struct type_of<bool> { static constexpr dtype value = DTYPE_BOOL; };
}  // namespace detail

/// An input by its name in the contract. Nothing is copied: `values` must outlive the call.
template <class T>
tensor input(const char *name, std::initializer_list<std::int64_t> shape, const T *values) {
    if (shape.size() > CONTRACT_MAX_RANK) throw std::runtime_error("shape has too many axes");
    tensor made{};
    made.name = name;
    made.type = detail::type_of<T>::value;
    for (const std::int64_t size : shape) made.dims[made.rank++] = size;
    // The graph only reads it; C has one struct for what goes in and what comes out.
    made.data = const_cast<T *>(values);
    return made;
}

/// What came out, as long as its owner keeps it.
class Output {
public:
    explicit Output(const tensor &of) : of_(&of) {}

    std::string_view name() const { return of_->name; }
    std::vector<std::int64_t> shape() const { return {of_->dims, of_->dims + of_->rank}; }
    std::size_t size() const { return element_count(of_); }
    const tensor &raw() const { return *of_; }

    template <class T> const T *data() const {
        if (of_->type != detail::type_of<T>::value) throw std::runtime_error("output has another type");
        return static_cast<const T *>(of_->data);
    }
    template <class T> const T *begin() const { return data<T>(); }
    template <class T> const T *end() const { return data<T>() + size(); }

private:
    const tensor *of_;
};

/// Outputs in the contract's order; texts are `const char *`.
class Outputs {
public:
    Outputs(const tensor *first, std::size_t count) : first_(first), count_(count) {}

    std::size_t size() const { return count_; }
    Output operator[](std::size_t place) const { return Output(first_[place]); }
    Output at(std::string_view name) const;

private:
    const tensor *first_;
    std::size_t count_;
};

class Model;

/// The outputs of a run; they go with this object.
class Answers {
public:
    Answers(Answers &&) noexcept = default;
    ~Answers();

    Output operator[](std::size_t place) const { return outputs()[place]; }
    Output at(std::string_view name) const { return outputs().at(name); }
    const tensor *raw() const { return tensors_.data(); }
    Outputs outputs() const { return {tensors_.data(), tensors_.size()}; }

private:
    friend class Model;
    explicit Answers(model *with) : with_(with) {}

    model *with_;
    std::vector<tensor> tensors_;
};

/// The graphs of a bundle; it must outlive its streams and answers.
class Model {
public:
    explicit Model(const char *folder = "bundle");

    /// Whole sequences: inputs in any order, states may be left out.
    Answers run(const std::vector<tensor> &inputs) const;

    /// The same of pipeline.onnx: what a person has in, what a person reads out.
    Answers ask(const tensor *inputs, std::size_t count) const;
    model *handle() const { return opened_.get(); }

private:
    struct Close {
        void operator()(model *opened) const { model_close(opened); }
    };
    std::unique_ptr<model, Close> opened_;
};

/// Rows side by side that are pushed through the model chunk by chunk; for one thread at a time.
class Stream {
public:
    explicit Stream(const Model &of, std::int64_t batch = 1);

    /// The next frames: the inputs without states. What it gives is valid until the next push.
    Outputs push(const tensor *inputs, std::size_t count);
    Outputs push(const tensor &only) { return push(&only, 1); }
    Outputs push(const std::vector<tensor> &inputs) { return push(inputs.data(), inputs.size()); }

    /// The next push begins a new sequence.
    void reset() { stream_reset(opened_.get()); }

    /// Go on from these states: all of them, by name.
    void resume(const std::vector<tensor> &states);

private:
    struct Close {
        void operator()(stream *opened) const { stream_close(opened); }
    };
    std::unique_ptr<stream, Close> opened_;
    std::vector<tensor> outputs_;
};

}  // namespace recurrent
