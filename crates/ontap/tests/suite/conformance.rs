//! The whole conformance suite, for each driver of the family, against the simulator.

use crate::array::Array;

mod nas {
    use super::Array;
    driver::conformance!(Array::new("ontap-nas", "").await);
}

mod flexgroup {
    use super::Array;
    driver::conformance!(Array::new("ontap-nas-flexgroup", "").await);
}

mod iscsi {
    use super::Array;
    driver::conformance!(Array::new("ontap-san", "sanType: iscsi").await);
}

mod nvme {
    use super::Array;
    driver::conformance!(Array::new("ontap-san", "sanType: nvme").await);
}

mod san_economy {
    use super::Array;
    driver::conformance!(Array::new("ontap-san-economy", "").await);
}

mod nas_economy {
    use super::Array;
    driver::conformance!(Array::new("ontap-nas-economy", "").await);
}
