//! Raw samples: the values of one window by column, one for each scored token. Nothing is summed before it is stored.

use crate::engine::{LayerError, Token};
use crate::evidence::{ActivationEvidence, NodeEvidence};
use crate::metric::{ColumnKind, column};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use words::plural;

/// The values of one column on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// A column of numbers.
    F64(Vec<f64>),
    /// A column of yes or no, written as a text of 1 and 0.
    Bits(Bits),
    /// A column of whole numbers.
    Counts(Vec<u32>),
}

impl Column {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Column::F64(values) => values.len(),
            Column::Bits(Bits(values)) => values.len(),
            Column::Counts(values) => values.len(),
        }
    }

    /// Whether the column has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of the values.
    pub fn kind(&self) -> ColumnKind {
        match self {
            Column::F64(_) => ColumnKind::F64,
            Column::Bits(_) => ColumnKind::Bits,
            Column::Counts(_) => ColumnKind::Counts,
        }
    }

    /// Removes the last value.
    pub fn pop(&mut self) {
        match self {
            Column::F64(values) => drop(values.pop()),
            Column::Bits(Bits(values)) => drop(values.pop()),
            Column::Counts(values) => drop(values.pop()),
        }
    }
}

/// Bits, one for each position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub Vec<bool>);

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|&bit| if bit { '1' } else { '0' }).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bit = |c| match c {
            '1' => Ok(true),
            '0' => Ok(false),
            other => Err(serde::de::Error::custom(format!("{other:?} is not a bit"))),
        };
        text.chars().map(bit).collect::<Result<_, _>>().map(Bits)
    }
}

/// Columns by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Columns(pub BTreeMap<String, Column>);

impl Columns {
    /// The column of that name; `None` where there is none.
    pub fn get(&self, id: &str) -> Option<&Column> {
        self.0.get(id)
    }

    /// Puts a column under a name and replaces the one that is there.
    pub fn set(&mut self, id: &str, column: Column) {
        self.0.insert(id.into(), column);
    }

    /// The numbers of a column; empty where no column has that name and kind.
    pub fn numbers(&self, id: &str) -> &[f64] {
        match self.get(id) {
            Some(Column::F64(values)) => values,
            _ => &[],
        }
    }

    /// The bits of a column; empty where no column has that name and kind.
    pub fn bits(&self, id: &str) -> &[bool] {
        match self.get(id) {
            Some(Column::Bits(Bits(values))) => values,
            _ => &[],
        }
    }

    /// Checks each column: it has the kind that the table says and the length of the others, and every number is
    /// finite.
    ///
    /// # Errors
    /// When a column fails the check; the error says in words what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let n = self.0.values().next().map_or(0, Column::len);
        if n == 0 {
            return Err("no position is scored".into());
        }
        for (id, values) in &self.0 {
            if column(id).is_some_and(|row| row.kind != values.kind()) {
                return Err(format!("column {id} is of another kind than it should be"));
            }
            if values.len() != n {
                let first = self.0.keys().next().map_or("", String::as_str);
                return Err(format!("column {id} has {}, column {first} has {n}", plural(values.len(), "value")));
            }
            let Column::F64(values) = values else { continue };
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(format!("{id} of scored token {index} is not finite"));
            }
        }
        Ok(())
    }
}

/// The values of the reference on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSample {
    /// The number of the window.
    pub chunk: usize,
    /// The tokens of the window, `[n_ctx]`, with BOS in its place. The last ones are scored, as many as a column has
    /// values.
    pub tokens: Vec<Token>,
    /// The blake3 hash of the bytes of the scored logits.
    pub logits_blake3: String,
    /// The columns that need no second model: `nll`, in nats.
    pub columns: Columns,
}

impl ReferenceSample {
    /// The negative log-likelihood of each scored token, in nats.
    pub fn nll(&self) -> &[f64] {
        self.columns.numbers("nll")
    }
}

/// What a variant does to the choices of one router, on one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSample {
    /// The number of the layer, counted from 0.
    pub layer: usize,
    /// The number of experts that the router chooses for a token.
    pub n_used: usize,
    /// The number of experts that the reference chooses and the variant does not, for each scored token. 0 says that the
    /// two choose the same set.
    pub changed: Vec<u32>,
}

/// The values of a cell on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The key of the cell.
    pub cell: String,
    /// The number of the window.
    pub chunk: usize,
    /// The hash of the reference's logits that the cell was compared with, as in [`ReferenceSample::logits_blake3`].
    pub reference_blake3: String,
    /// The columns that the table of metrics lists.
    pub columns: Columns,
    /// How many of the watched activations differ in any bit from the reference's; `None` except on a cell's first
    /// window.
    pub activations: Option<ActivationEvidence>,
    /// What each edit of a node's values did in this window; empty where no node is edited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeEvidence>,
    /// How far the hidden state that leaves each layer is from the reference's; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<LayerError>,
    /// The choices of each router, by ascending layer; empty where the model has no routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<RouterSample>,
}

impl Sample {
    /// Checks the columns as [`Columns::check`] does, and the routers: their layers ascend, and each has one count for
    /// each scored token, which is at most the number of experts that the router chooses.
    ///
    /// # Errors
    /// When a column or a router fails the check; the error says in words what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.columns.check()?;
        let n = self.columns.0.values().next().map_or(0, Column::len);
        if let Some(pair) = self.routers.windows(2).find(|pair| pair[0].layer >= pair[1].layer) {
            return Err(format!("the router of layer {} comes after that of layer {}", pair[1].layer, pair[0].layer));
        }
        for RouterSample { layer, n_used, changed } in &self.routers {
            if changed.len() != n {
                let (has, wanted) = (plural(changed.len(), "value"), plural(n, "scored token"));
                return Err(format!("the router of layer {layer} has {has} for {wanted}"));
            }
            if let Some(index) = changed.iter().position(|&changed| changed as usize > *n_used) {
                let (changed, used) = (changed[index], plural(*n_used, "expert"));
                let at = format!("scored token {index}");
                return Err(format!("the router of layer {layer} changes {changed} of {used} for {at}"));
            }
        }
        Ok(())
    }

    /// The negative log-likelihood of each scored token, in nats.
    pub fn nll(&self) -> &[f64] {
        self.columns.numbers("nll")
    }

    /// The KL divergence from the reference at each scored position, in nats.
    pub fn kld(&self) -> &[f64] {
        self.columns.numbers("kld")
    }

    /// The number of scored positions whose logits differ in any bit.
    pub fn n_changed(&self) -> usize {
        self.columns.bits("logits_changed").iter().filter(|&&bit| bit).count()
    }

    /// The number of scored positions at which reference and variant have the same most probable token.
    pub fn n_same_top(&self) -> usize {
        self.columns.bits("same_top").iter().filter(|&&bit| bit).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(of: &[(&str, Column)]) -> Columns {
        Columns(of.iter().map(|(id, column)| ((*id).to_owned(), column.clone())).collect())
    }

    #[test]
    fn each_kind_of_column_is_written_so_that_it_is_read_back() {
        let columns = columns(&[
            ("kld", Column::F64(vec![0.0, 1.5e-7])),
            ("same_top", Column::Bits(Bits(vec![true, false]))),
            ("a_later_one", Column::Counts(vec![0, 5])),
        ]);
        let json = serde_json::to_string(&columns).expect("prints");
        let wanted = r#"{"a_later_one":{"counts":[0,5]},"kld":{"f64":[0.0,1.5e-7]},"same_top":{"bits":"10"}}"#;
        assert_eq!(json, wanted);
        assert_eq!(serde_json::from_str::<Columns>(&json).expect("reads"), columns);
        assert!(serde_json::from_str::<Column>(r#"{"bits":"102"}"#).is_err());
    }

    #[test]
    fn routers_that_cannot_be_are_refused_by_layer() {
        let router = |layer, changed: &[u32]| RouterSample { layer, n_used: 2, changed: changed.to_vec() };
        let check = |routers: &[RouterSample]| {
            let columns = columns(&[("kld", Column::F64(vec![0.0, 0.5]))]);
            let (cell, reference_blake3) = (String::new(), String::new());
            let (nodes, residual, routers) = (Vec::new(), Vec::new(), routers.to_vec());
            Sample { cell, chunk: 0, reference_blake3, columns, activations: None, nodes, residual, routers }.check()
        };
        assert_eq!(check(&[router(1, &[0, 2]), router(3, &[1, 0])]), Ok(()));
        let cases = [
            (vec![router(1, &[0, 2]), router(1, &[0, 2])], "the router of layer 1 comes after that of layer 1"),
            (vec![router(4, &[0])], "the router of layer 4 has 1 value for 2 scored tokens"),
            (vec![router(4, &[0, 3])], "the router of layer 4 changes 3 of 2 experts for scored token 1"),
        ];
        for (routers, wanted) in cases {
            assert_eq!(check(&routers), Err(wanted.into()));
        }
    }

    #[test]
    fn columns_that_cannot_be_are_refused_by_name() {
        let kld = || Column::F64(vec![0.0, 0.5]);
        let cases = [
            (columns(&[]), "no position is scored"),
            (columns(&[("kld", Column::F64(vec![]))]), "no position is scored"),
            (columns(&[("kld", Column::Counts(vec![1]))]), "column kld is of another kind"),
            (columns(&[("kld", kld()), ("nll", Column::F64(vec![1.0]))]), "column nll has 1 value, column kld has 2"),
            (columns(&[("kld", Column::F64(vec![0.0, f64::NAN]))]), "kld of scored token 1 is not finite"),
        ];
        for (columns, wanted) in cases {
            let error = columns.check().expect_err(wanted);
            assert!(error.contains(wanted), "{error}");
        }
        assert_eq!(columns(&[("kld", kld()), ("unknown", Column::Counts(vec![1, 2]))]).check(), Ok(()));
    }
}
