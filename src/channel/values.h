// Short names for the types of a Warp (protocol/warp.h), for code that is a template over one.
#pragma once
#include "base/macros.h"
#include "base/set.h"

namespace transload {

template <class W>
using MembersOf = typename W::Members;
template <class W>
using PlantsOf = typename W::Plants;
template <class W, class T>
using PerOf = typename W::template Per<T>;
template <class W, class T>
using TableOf = typename W::template Table<T>;

// The verbs that take a type argument: called like this, they need no word `template`. zeros() gives a table of zeros.
template <class T, class W, class F>
TRANSLOAD_WARP PerOf<W, T> per(W& w, Set set, F f) {
  return w.template per<T>(set, f);
}
template <class T, class W, class F>
TRANSLOAD_WARP TableOf<W, T> table(W& w, int count, F f) {
  return w.template table<T>(count, f);
}
template <class T, class W>
TRANSLOAD_WARP TableOf<W, T> zeros(W& w, int count) {
  return table<T>(w, count, [](Lane) { return T(0); });
}

}  // namespace transload
