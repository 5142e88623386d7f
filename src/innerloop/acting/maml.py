"""MAML for a policy gradient (Finn, Abbeel, Levine, ICML 2017, https://arxiv.org/abs/1703.03400, section 5.3).

Learn a policy that one policy-gradient step on a few of its own episodes turns into one for the task at hand. Choose it
over RL^2 where episodes are long and a policy without memory will do. The inner step is written with likelihood ratios
(Rothfuss et al., *ProMP*, ICLR 2019, https://arxiv.org/abs/1810.06784): the same gradient, and a second derivative that
also credits the actions before the step with what was learned from them.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.func import grad, vmap

from innerloop.acting.navigation import HORIZON, Trajectories, draw_goals, navigate
from innerloop.acting.returns import advantages
from innerloop.acting.train import train
from innerloop.core.inner import SGD, InnerOptimizer, LearnedRates, Parameters, call
from innerloop.core.numbers import check_number
from innerloop.learners.optimization.adapting import names
from innerloop.nets import mlp
from innerloop.training.history import History


class GaussianPolicy(nn.Module):
    """An mlp gives the mean of an action; the log of its deviation is a parameter.

    Args:
        width: of the two hidden layers.
        inputs: size of a state.
        actions: size of an action.

    Example:
        >>> GaussianPolicy(width=8)(torch.zeros(3, 2)).shape
        torch.Size([3, 2])
    """

    def __init__(self, width: int = 64, inputs: int = 2, actions: int = 2) -> None:
        super().__init__()
        self.mean = mlp(inputs, width, width, actions, activation=nn.Tanh)
        self.log_scale = nn.Parameter(torch.zeros(actions))

    def forward(self, x: Tensor) -> Tensor:
        """The mean action, ``[*B, inputs] -> [*B, actions]``."""
        return self.mean(x)


class PolicyMAML(nn.Module):
    """Inner policy-gradient steps on a Gaussian policy, written for one task.

    Args:
        policy: its parameters are the initial ones.
        lr: inner learning rate.
        learn_lr: learn a rate for each tensor of parameters, starting at ``lr``.
        first_order: take the inner gradient for a constant (FOMAML).
        adapts: as of :class:`~innerloop.MAML`; ``"head"`` is the last layer of the mean (ANIL; Raghu et al., ICLR 2020,
            https://arxiv.org/abs/1909.09157).
        discount: gamma of the returns that the gradients follow; scores are never discounted.

    Raises:
        InputError: for an unknown ``adapts``, a rate that is not positive, or a discount outside (0, 1].

    Example:
        >>> import innerloop.acting as acting
        >>> maml = acting.PolicyMAML(acting.GaussianPolicy(width=8))
        >>> before, after = maml.returns(torch.tensor([[0.3, 0.4]]), torch.Generator(), steps=1)
        >>> after.shape
        torch.Size([1])
    """

    def __init__(
        self,
        policy: GaussianPolicy,
        *,
        lr: float = 0.1,
        learn_lr: bool = False,
        first_order: bool = False,
        adapts: str = "all",
        discount: float = 0.97,
    ) -> None:
        super().__init__()
        check_number("the discount", discount, "(0, 1]")
        self.policy, self.first_order, self.discount = policy, first_order, discount
        self.names = names(policy, adapts)
        self.inner: InnerOptimizer = LearnedRates(self.names, lr) if learn_lr else SGD(lr)

    def initial(self) -> Parameters:
        """theta: the parameters that every task starts from."""
        return dict(self.policy.named_parameters())

    def act(self, parameters: Parameters, x: Tensor, noise: Tensor) -> Tensor:
        """Actions for states and standard normal noise."""
        return call(self.policy, parameters, x) + noise * parameters["log_scale"].exp()

    def log_prob(self, parameters: Parameters, seen: Trajectories) -> Tensor:
        """Log density of the actions taken, ``[n, M]``."""
        scale = parameters["log_scale"]
        z = (seen.action - call(self.policy, parameters, seen.x)) * (-scale).exp()
        return -(0.5 * z**2 + scale + 0.5 * math.log(2 * math.pi)).sum(-1)

    def surrogate(self, parameters: Parameters, seen: Trajectories, gain: Tensor) -> Tensor:
        """Minus the mean of ratio times advantage: its gradient is minus the policy gradient."""
        log_prob = self.log_prob(parameters, seen)
        return -((log_prob - log_prob.detach()).exp() * gain * seen.alive).sum() / seen.alive.sum()

    def adapt(self, seen: Trajectories, parameters: Parameters | None = None) -> Parameters:
        """The inner loop: one step on the episodes of one task.

        Args:
            seen: episodes of the policy with ``parameters``.
            parameters: where to start; ``None`` for the initial ones.

        Returns:
            all parameters of the adapted policy.
        """
        start = self.initial() if parameters is None else parameters
        gain = gains(seen, self.discount)
        moving = {name: start[name] for name in self.names}
        # Detached before, not after: no graph of the inner gradient is built at all.
        fixed = {name: value.detach() for name, value in start.items()} if self.first_order else start
        gradients = grad(lambda phi: self.surrogate({**fixed, **phi}, seen, gain))({k: fixed[k] for k in moving})
        return {**start, **self.inner.update(gradients, moving, None)[0]}

    def loss(self, goals: Tensor, generator: Generator, *, steps: int = 1, episodes: int = 20) -> tuple[Tensor, Tensor]:
        """The outer objective of T tasks: minus the policy-gradient surrogate of the adapted policy.

        Args:
            goals: ``[T, 2]``.
            generator: of the actions.
            steps: inner steps, each on new episodes; 0 for a policy that does not adapt.
            episodes: M of each batch.

        Returns:
            the loss, ``[]``, and the adapted policy's return on each task, ``[T]``.
        """
        parameters = self._repeated(len(goals))
        for _ in range(steps):
            parameters = vmap(self.adapt)(self._roll(parameters, goals, generator, episodes), parameters)
        seen = self._roll(parameters, goals, generator, episodes)
        gain = vmap(gains, in_dims=(0, None))(seen, self.discount)
        return vmap(self.surrogate)(parameters, seen, gain).mean(), seen.returns.mean(1)

    @torch.no_grad()
    def returns(self, goals: Tensor, generator: Generator, *, steps: int = 1, episodes: int = 20) -> list[Tensor]:
        """The mean return before adaptation and after each inner step, each ``[T]``, of sampled actions."""
        parameters, means = self._repeated(len(goals)), []
        for step in range(steps + 1):
            seen = self._roll(parameters, goals, generator, episodes)
            means.append(seen.returns.mean(1))
            if step < steps:
                parameters = vmap(self.adapt)(seen, parameters)
        return means

    def _repeated(self, tasks: int) -> Parameters:
        return {name: value.expand(tasks, *value.shape) for name, value in self.initial().items()}

    @torch.no_grad()
    def _roll(self, parameters: Parameters, goals: Tensor, generator: Generator, episodes: int) -> Trajectories:
        """Episodes of every task, with a policy of its own for each."""
        noise = torch.randn(len(goals), HORIZON, episodes, 2, generator=generator, device=generator.device).to(goals)
        return vmap(lambda phi, goal, luck: navigate(lambda x, z: self.act(phi, x, z), goal, luck))(
            parameters, goals, noise
        )


def gains(seen: Trajectories, discount: float) -> Tensor:
    """Advantages of the steps of one task, standardized: returns less a linear baseline in place and time.

    Args:
        seen: n steps of M episodes.
        discount: gamma.

    Returns:
        ``[n, M]``.

    References:
        Duan et al., *Benchmarking Deep Reinforcement Learning for Continuous Control*, ICML 2016,
        https://arxiv.org/abs/1604.06778 (the baseline's features).
    """
    after = advantages(seen.reward, torch.zeros_like(seen.reward), discount)
    n, episodes = after.shape
    time = torch.linspace(0, 1, n).to(after).view(n, 1, 1).expand(n, episodes, 1)
    features = torch.cat((seen.x, seen.x**2, time, time**2, time**3, torch.ones_like(time)), 2)
    z = (features * seen.alive.unsqueeze(2)).flatten(0, 1)
    ridge = 1e-4 * n * episodes * torch.eye(z.shape[1]).to(z)
    weights = torch.linalg.solve(z.mT @ z + ridge, z.mT @ after.flatten())
    gain = (after - features @ weights) * seen.alive
    mean = gain.sum() / seen.alive.sum()
    spread = (((gain - mean) * seen.alive) ** 2).sum() / seen.alive.sum()
    return (gain - mean) * seen.alive / (spread + 1e-12).sqrt()


def train_navigation(
    maml: PolicyMAML,
    *,
    updates: int,
    tasks: int = 20,
    episodes: int = 20,
    steps: int = 1,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Meta-train on new goals each step (see :func:`innerloop.acting.train`).

    Args:
        maml: trained in place.
        updates: outer steps.
        tasks: T of each step.
        episodes: M before and after each inner step.
        steps: inner steps; 0 pre-trains a policy that does not adapt.
        lr: learning rate of Adam.
        seed: of goals and actions.
        progress: show a bar.

    Returns:
        the history; ``return`` is that of the adapted policies.

    Example:
        >>> import innerloop.acting as acting
        >>> maml = acting.PolicyMAML(acting.GaussianPolicy(width=4))
        >>> train_navigation(maml, updates=1, tasks=2, episodes=3).step
        1
    """

    def objective(generator: Generator, done: float) -> tuple[Tensor, Tensor]:
        return maml.loss(draw_goals(generator, tasks), generator, steps=steps, episodes=episodes)

    return train(maml, objective, updates=updates, lr=lr, seed=seed, progress=progress)
