"""
Columns of categories
=====================

Tables mix numbers with names. Two ways to a network: a scikit-learn pipeline that turns names into columns of 0 and
1, and a class with an ``Embedding``, which learns a vector for each name. The table is made here, so that nothing is
downloaded.
"""

import numpy
import pandas
from matplotlib import pyplot
from sklearn.compose import make_column_transformer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastbp
from fastbp import nn, optim
from fastbp.sklearn import MLPClassifier

rng = numpy.random.default_rng(0)
shops, weekdays = [f"shop {number:02d}" for number in range(40)], ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
n = 6000
table = pandas.DataFrame({
    "shop": rng.choice(shops, n), "weekday": rng.choice(weekdays, n), "price": rng.gamma(4, 5, n).round(2),
    "rain": rng.exponential(2, n).round(1),
})  # fmt: skip
busy = dict(zip(shops, rng.normal(0, 1.2, len(shops))))
weekend = table["weekday"].isin(["Sat", "Sun"])
logit = table["shop"].map(busy) + 1.2 * weekend - 0.08 * (table["price"] - 20) - 0.4 * table["rain"] * weekend
sold = (rng.random(n) < 1 / (1 + numpy.exp(-logit))).astype(int)
train, test, y_train, y_test = train_test_split(table, sold, test_size=0.3, random_state=0)
table.head()

# %%
# A pipeline
# ----------
# ``MLPClassifier`` takes the place of scikit-learn's, with the same numbers.

columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["shop", "weekday"]), (StandardScaler(), ["price", "rain"])
)
pipeline = make_pipeline(columns, MLPClassifier((32,), alpha=1e-2, early_stopping=True, random_state=0))
pipeline.fit(train, y_train)
of_pipeline = pipeline.predict_proba(test)[:, 1]
print(f"pipeline: log loss {log_loss(y_test, of_pipeline):.4f}, accuracy {pipeline.score(test, y_test):.3f}")

# %%
# A class with embeddings
# -----------------------
# Its ``forward`` takes one array of integers and one of floats. A class of several inputs is trained by a loop.


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.shop, self.weekday = nn.Embedding(len(shops), 4, rng=0), nn.Embedding(7, 2, rng=1)
        self.body = nn.Sequential(nn.Linear(8, 32, rng=2), nn.ReLU(), nn.Dropout(0.2, rng=3), nn.Linear(32, 1, rng=4))

    def forward(self, names, numbers):
        vectors = self.shop(names[:, 0]), self.weekday(names[:, 1]), numbers
        return self.body(numpy.concatenate(vectors, axis=1))[:, 0]


scaler = StandardScaler().fit(train[["price", "rain"]])


def arrays(table):
    names = numpy.stack([table["shop"].map(shops.index), table["weekday"].map(weekdays.index)], axis=1)
    return names, scaler.transform(table[["price", "rain"]]).astype(numpy.float32)


names, numbers = arrays(train)
target = y_train.to_numpy(numpy.float32)
net, criterion = Net(), nn.BCEWithLogitsLoss()
opt = optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.05)
for _ in range(12):
    for rows in numpy.array_split(rng.permutation(len(train)), 66):
        loss = criterion(net(names[rows], numbers[rows]), target[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
net.eval()
with fastbp.no_grad():
    of_net = 1 / (1 + numpy.exp(-numpy.asarray(net(*arrays(test)), float)))
print(f"embeddings: log loss {log_loss(y_test, of_net):.4f}, accuracy {((of_net > 0.5) == y_test).mean():.3f}")

# %%
# What the vectors of the shops have found: their main direction against what made the table.

vectors = net.shop.weight.numpy() - net.shop.weight.numpy().mean(axis=0)
main = vectors @ numpy.linalg.svd(vectors)[2][0]
true = numpy.array([busy[name] for name in shops])
figure, ax = pyplot.subplots(figsize=(5, 4), layout="constrained")
ax.scatter(true, main * numpy.sign(numpy.corrcoef(true, main)[0, 1]))
ax.set(xlabel="how busy a shop was made", ylabel="main direction of its vector")
pyplot.show()
print(f"correlation {abs(numpy.corrcoef(true, main)[0, 1]):.2f}")
