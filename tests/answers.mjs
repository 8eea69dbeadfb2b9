// What the simulator of pages says of circuits: for test_live_simulator.py, in Node and a browser.
import { Circuit, expectation, generator, probabilities, sample } from "./simulator.js";

const plain = (made) => ({ ...made, parameters: Array.from(made.parameters) });

export function answers(cases) {
  return cases.map(({ structure, numbers, observable, wires }) => {
    const circuit = new Circuit(structure), state = circuit.state(numbers);
    return {
      state: [Array.from(state.re), Array.from(state.im)],
      expectation: expectation(state, observable),
      probabilities: Array.from(probabilities(state, wires)),
      gradient: plain(circuit.gradient(numbers, observable)),
    };
  });
}

export function draws({ seed, count, chances, shots }) {
  const random = generator(seed);
  return {
    numbers: Array.from({ length: count }, random),
    counts: sample(chances, shots, generator(seed)),
  };
}
